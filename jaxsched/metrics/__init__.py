"""What a schedule is worth: latency, slowdown, KV use and throughput, padding left out."""

from jaxsched.metrics.summary import (
    kv_profile,
    latency,
    latency_statistics,
    makespan,
    mean_kv_tokens,
    peak_kv_tokens,
    slowdown,
    summary,
    time_to_first_token,
)

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
