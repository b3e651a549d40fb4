"""Random scenarios for comparing implementations of the online engine, many of them awkward.

``random_scenario(seed)`` and the hypothesis strategy ``scenarios()`` share one description: small
memories, block edges, ties, budgets below the number running, predictions that err, requests that
must be refused. Keywords fix a setting::

    random_scenario(7, policy="priority", preemption="swap")
    scenarios(max_requests=4, victim=None)

Two kinds of clock. "exact": arrivals and coefficients are multiples of 2^-9 s, so float64 and
integer ticks of 1 ns or 1 ps all add them without rounding, and arrivals at the very end of a step
are common. "measured": coefficients of a real server and arrivals without ties; compare times
to a relative 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.reference.online import serve
from tests.reference.online_settings import (
    ADMISSIONS,
    NO_LIMIT,
    PREEMPTIONS,
    VICTIMS,
    Clock,
    Log,
    Settings,
)

GRID_S = 2.0**-9
MEASURED_CLOCKS_S = [
    (0.0277, 0.000299, 0.000156, 1.12e-07, 0.0),
    (5.897e-3, 1.684e-5, 1.341e-5, 4.10e-8, 7.53e-10),
]
VLLM_OPTIONS = {
    "preemption": "recompute",
    "victim": None,
    "swap_s_per_token": 0.0,
    "prefill_first": False,
}


@dataclass(frozen=True)
class Scenario:
    """A server and a stream of requests."""

    settings: Settings
    clock: Clock
    arrival_s: list[float]
    prompt: list[int]
    output: list[int]
    priority: list[float]
    predicted: list[int]
    victim_rank: list[float]
    max_steps: int = 2_000

    def log(self, serve: Callable[..., Log] = serve) -> Log:
        """What the oracle does with it, or a variant of the oracle."""
        return serve(
            self.arrival_s,
            self.prompt,
            self.output,
            self.settings,
            self.clock,
            priority=self.priority,
            predicted=self.predicted,
            victim_rank=self.victim_rank,
            max_steps=self.max_steps,
        )


class Source:
    """Where a scenario's numbers come from: integers in a range."""

    def __init__(self, integer: Callable[[int, int], int]):
        self.integer = integer  # both ends included

    def pick(self, choices: Sequence) -> Any:
        """One of the choices; the first is the plainest."""
        return choices[self.integer(0, len(choices) - 1)]

    def happens(self, times: int, of: int) -> bool:
        return self.integer(1, of) > of - times

    def integers(self, low: int, high: int, n: int) -> list[int]:
        return [self.integer(low, high) for _ in range(n)]


def random_scenario(seed: int, *, max_requests: int = 12, clock: str | None = None, **fixed):
    """The scenario of a seed; ``clock`` is "exact" or "measured", ``fixed`` holds settings."""
    rng = np.random.default_rng(seed)
    source = Source(lambda low, high: int(rng.integers(low, high, endpoint=True)))
    return scenario_from(source, max_requests, clock, fixed)


@st.composite
def scenarios(draw, max_requests: int = 8, clock: str | None = None, **fixed):
    """A hypothesis strategy of the same scenarios."""
    source = Source(lambda low, high: draw(st.integers(low, high)))
    return scenario_from(source, max_requests, clock, fixed)


def scenario_from(source: Source, max_requests: int, clock: str | None, fixed: dict) -> Scenario:
    n = source.integer(1 if source.happens(1, 4) else (max_requests + 1) // 2, max_requests)
    block_size = fixed.get("block_size", source.pick([1, 2, 3, 4, 16]))
    longest = source.pick([12, 6, 30, 60])
    prompt = [_length(source, longest, block_size) for _ in range(n)]
    output = [1 if source.happens(1, 5) else _length(source, longest, block_size) for _ in range(n)]
    drawn = _settings(source, prompt, output, block_size, longest)
    settings = Settings(**{**asdict(drawn), "block_size": block_size, **fixed})
    is_exact = clock == "exact" or (clock is None and source.happens(3, 4))
    return Scenario(
        settings=settings,
        clock=_exact_clock(source) if is_exact else source.pick(MEASURED_CLOCKS_S),
        arrival_s=_arrivals(source, n, is_exact),
        prompt=prompt,
        output=output,
        priority=_priorities(source, n),
        predicted=_predictions(source, output, longest),
        victim_rank=[float(v) for v in source.integers(-2, 2, n)],
    )


def _length(source: Source, longest: int, block_size: int) -> int:
    """Tokens of a prompt or an output, often at the edge of a block."""
    if source.happens(1, 3):
        edge = block_size * source.integer(1, max(longest // block_size, 1))
        return max(edge + source.integer(-1, 1), 1)
    return source.integer(1, longest)


def _settings(
    source: Source, prompt: list[int], output: list[int], block_size: int, longest: int
) -> Settings:
    n = len(prompt)
    max_model_len = source.integer(2, 2 * longest) if source.happens(1, 4) else NO_LIMIT
    needs = [
        math.ceil((s + min(o, max(max_model_len - s, 1)) - 1) / block_size)
        for s, o in zip(prompt, output, strict=True)
    ]
    usable = {
        "tight": source.integer(max(needs), 2 * max(needs)),
        "just fits the largest": max(needs),
        "roomy": sum(needs) + n,
        "some are refused": max(max(needs) - source.integer(1, 3), 1),
        "one block": 1,
    }[
        source.pick(
            [
                *["tight"] * 8,
                *["just fits the largest"] * 4,
                *["roomy", "some are refused"] * 2,
                "one block",
            ]
        )
    ]
    is_chunked = not source.happens(1, 6)
    budgets = [2 * longest, longest, 512]
    if is_chunked:
        budgets = [512, 512, 1, 2, 3, 5, 8, 16, 24, 40, 80]
    threshold = source.integer(1, longest) if source.happens(1, 3) else 0
    return Settings(
        num_gpu_blocks=usable + 1,
        max_num_seqs=source.pick([*[128] * 8, 1, 2, 3, 5]),
        max_num_batched_tokens=source.pick(budgets),
        max_model_len=max_model_len,
        enable_chunked_prefill=is_chunked,
        long_prefill_token_threshold=threshold,
        long_prefill_token_threshold_adaptive=source.happens(1, 3),
        policy=source.pick(["fcfs", "priority"]),
        watermark=source.pick([0.0, 0.0, 0.0, 0.0, 0.05, 0.1, 0.3]),
        max_num_active_seqs=source.pick([*[None] * 8, 2, 4]),
        prefill_schedule_interval=source.pick([1, 1, 1, 2, 3, 5]),
        admission=source.pick(ADMISSIONS),
        preemption=source.pick(PREEMPTIONS),
        victim=source.pick([None, *VICTIMS]),
        swap_s_per_token=source.integer(0, 3) * GRID_S,
        prefill_first=source.happens(1, 4),
    )


def _exact_clock(source: Source) -> Clock:
    if source.happens(1, 3):
        return (1.0, 0.0, 0.0, 0.0, 0.0)
    a, b, c, d, e = source.integers(0, 3, 5)
    return ((1 + a) * GRID_S, b * GRID_S, c * GRID_S, d * GRID_S, 2 * e * GRID_S)


def _arrivals(source: Source, n: int, is_exact: bool) -> list[float]:
    if not is_exact:
        gaps = [source.integer(0, 10**6) * source.pick([1e-8, 1e-7]) for _ in range(n)]
        return np.cumsum(gaps).tolist()
    kind = source.pick(["together", "late together", "steps", "grid", "bursts"])
    if kind in ("together", "late together"):
        return [0.0 if kind == "together" else 37 * GRID_S] * n
    if kind == "steps":
        return sorted(float(t) for t in source.integers(0, 2 * n, n))
    if kind == "grid":
        return sorted(t * GRID_S for t in source.integers(0, 10 * n, n))
    return sorted(t * 40.0 for t in source.integers(0, 3, n))  # idle in between


def _priorities(source: Source, n: int) -> list[float]:
    kind = source.pick(["all equal", "three levels", "distinct", "with infinities", "nan"])
    if kind == "all equal":
        return [0.0] * n
    if kind == "distinct":
        return [float(p) / 3 for p in source.integers(-999, 999, n)]
    levels = [float(p) for p in source.integers(0, 2, n)]
    if kind == "with infinities":
        return [{0.0: -math.inf, 2.0: math.inf}.get(p, p) for p in levels]
    if kind == "nan" and source.happens(1, 8):
        levels[source.integer(0, n - 1)] = math.nan
    return levels


def _predictions(source: Source, output: list[int], longest: int) -> list[int]:
    kind = source.pick(["true", "near", "too short", "too long", "noise"])
    if kind == "true":
        return list(output)
    if kind == "near":
        return [max(o + source.integer(-2, 2), 1) for o in output]
    if kind == "too short":
        return [1] * len(output)
    if kind == "too long":
        return [o + longest for o in output]
    return source.integers(1, longest, len(output))
