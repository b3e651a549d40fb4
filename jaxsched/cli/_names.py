"""Names that a shell completes. They stand here again because a key press cannot wait for jax.

A test compares them with those of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

RULES = (
    "fcfs",
    "shortest_output",
    "shortest_prompt",
    "total_size",
    "smallest_volume",
    "weighted_volume",
    "sorted_f",
    "geometric",
    "receding_horizon",
    "sorted_lp",
    "lp_swap",
    "price_guided",
    "linear_score",
    "mlp_score",
    "aged_shortest_first",
    "length_weighted",
    "aged_prompt",
    "aged_priority",
    "aged_size",
    "fading_prompt",
    "highest_response_ratio",
    "token_response_ratio",
    "gamma_boost",
    "uniboost",
    "earliest_deadline",
    "least_slack",
    "shortest_remaining",
    "a_max",
    "a_min",
    "skip_join_mlfq",
    "geometric_slicing",
    "virtual_token_counter",
    "least_attained_service",
    "improve",
)
WORKLOADS = ("chat", "mixed", "summarization", "uniform")
SERVERS = (
    "llama2_70b_2xa100",
    "llama2_70b_4xa100",
    "llama2_7b_a100",
    "llama3_8b_a100",
    "llama2_70b_4xh100",
    "llama3.1_8b_a100",
    "llama3.1_8b_h100",
    "llama3.1_8b_h200",
    "llama3.1_8b_b200",
    "llama3.1_70b_4xa100",
    "llama3.1_70b_4xh100",
    "llama3.1_70b_4xh200",
    "llama3.1_70b_4xb200",
    "qwen3_8b_h100",
    "qwen3_32b_2xh100",
    "qwen3_32b_fp8_h200",
    "qwen3_30b_a3b_h100",
    "qwen3_235b_a22b_fp8_8xh200",
    "deepseek_v3_8xh200",
    "deepseek_v3_8xb200",
)
BOUNDS = ("volume", "mean_busy", "price")
OBJECTIVES = ("mean_latency", "weighted_latency", "p_norm", "p99_latency")
SERVICE_OBJECTIVES = (
    "goodput",
    "attainment",
    "mean_ttft",
    "p99_ttft",
    "mean_tpot",
    "p99_tpot",
    "mean_e2e",
    "p99_e2e",
    "mean_slowdown",
    "p99_slowdown",
)
TRACES = ("arxiv_summarization", "azure2023_code", "azure2023_conv", "mooncake_conversation")

Complete = Callable[[str], list[str]]


def one_of(*names: str) -> Complete:
    """Complete a name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def some_of(*names: str) -> Complete:
    """Complete the last of several names with commas between; none twice."""

    def complete(incomplete: str) -> list[str]:
        return _after_commas(incomplete, names)

    return complete


def rule(incomplete: str) -> list[str]:
    """Complete the name of a rule."""
    return [name for name in _rules() if name.startswith(incomplete)]


def rules(incomplete: str) -> list[str]:
    """Complete the last of several rules with commas between."""
    return _after_commas(incomplete, _rules())


def _rules() -> list[str]:
    plugins = entry_points(group="jaxsched.rules").names
    return list(dict.fromkeys((*RULES, *sorted(plugins))))


def _after_commas(incomplete: str, names: Sequence[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [
        f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in taken
    ]
