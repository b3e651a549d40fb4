"""Batch selectors: ways to find a batch of small F that fits the KV cache."""

from jaxsched.policies.selectors._greedy import greedy
from jaxsched.policies.selectors._knapsack import exact_dp, scaled_dp
from jaxsched.policies.selectors._local_swap import improve_by_swaps, local_swap
from jaxsched.policies.selectors._multiplier_sweep import multiplier_sweep
from jaxsched.policies.selectors._named import resolve_selector
from jaxsched.policies.selectors._prefix import least_f_prefix
from jaxsched.policies.selectors._protocol import Select, Selector, f_metric

__all__ = [
    "Select",
    "Selector",
    "exact_dp",
    "f_metric",
    "greedy",
    "improve_by_swaps",
    "least_f_prefix",
    "local_swap",
    "multiplier_sweep",
    "resolve_selector",
    "scaled_dp",
]
