"""What a schedule is worth: latency, slowdown, KV use and throughput, padding left out."""

from jaxsched.metrics.kv import kv_profile, mean_kv_tokens, peak_kv_tokens
from jaxsched.metrics.latency import latency, makespan, slowdown, time_to_first_token
from jaxsched.metrics.summary import latency_statistics, summary

__all__ = [
    "kv_profile",
    "latency",
    "latency_statistics",
    "makespan",
    "mean_kv_tokens",
    "peak_kv_tokens",
    "slowdown",
    "summary",
    "time_to_first_token",
]
