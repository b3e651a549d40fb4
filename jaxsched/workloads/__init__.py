"""Backlogs, synthetic ones and solved ones; arrivals over time; predicted output lengths."""

from collections.abc import Callable

from jaxsched._lib.registry import Registry
from jaxsched.model.instance import Instance
from jaxsched.workloads import arrivals
from jaxsched.workloads.arrivals import poisson
from jaxsched.workloads.predictions import predict
from jaxsched.workloads.solved import Benchmark, benchmark
from jaxsched.workloads.synthetic import chat, mixed, summarization, uniform
from jaxsched.workloads.worst_case import three_partition, worst_case

#: The workloads that share the call ``name(key, num_requests, batch=None, kv_capacity=16492)``.
WORKLOADS: Registry[Callable[..., Instance]] = Registry(
    "workload", {"chat": chat, "mixed": mixed, "summarization": summarization}
)

__all__ = [
    "WORKLOADS",
    "Benchmark",
    "arrivals",
    "benchmark",
    "chat",
    "mixed",
    "poisson",
    "predict",
    "summarization",
    "three_partition",
    "uniform",
    "worst_case",
]
