"""Schedule LLM inference under a KV-cache budget: simulate, compare, bound and tune."""

from jaxsched import (
    bounds,
    clock,
    metrics,
    plots,
    policies,
    testing,
    traces,
    tuning,
    workloads,
)
from jaxsched._compare import compare
from jaxsched._comparison import Comparison
from jaxsched._simulate import simulate
from jaxsched._verify import Verdict, verify
from jaxsched.instance import Instance, stack
from jaxsched.policies import prioritize
from jaxsched.schedule import Schedule, Status
from jaxsched.tuning import tune

__all__ = [
    "Comparison",
    "Instance",
    "Schedule",
    "Status",
    "Verdict",
    "bounds",
    "clock",
    "compare",
    "metrics",
    "plots",
    "policies",
    "prioritize",
    "simulate",
    "stack",
    "testing",
    "traces",
    "tune",
    "tuning",
    "verify",
    "workloads",
]
