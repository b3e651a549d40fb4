"""What a schedule or a server is worth: latency, goodput, KV use and more, padding left out."""

from jaxsched.metrics.fairness import Fairness, service_fairness
from jaxsched.metrics.kv import kv_profile, mean_kv_tokens, peak_kv_tokens
from jaxsched.metrics.latency import latency, makespan, slowdown, time_to_first_token
from jaxsched.metrics.service import service_summary
from jaxsched.metrics.summary import latency_statistics, summary
from jaxsched.metrics.traffic import Traffic, traffic
from jaxsched.model.itl import ITL_EDGES_S

__all__ = [
    "ITL_EDGES_S",
    "Fairness",
    "Traffic",
    "kv_profile",
    "latency",
    "latency_statistics",
    "makespan",
    "mean_kv_tokens",
    "peak_kv_tokens",
    "service_fairness",
    "service_summary",
    "slowdown",
    "summary",
    "time_to_first_token",
    "traffic",
]
