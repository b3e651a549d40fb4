"""What the online oracle is told and what it returns: settings and the log of one stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

NO_LIMIT = 2**30

#: Seconds of a step, from the P prompt tokens and B decodes it computes, and the tokens cached.
Duration = Callable[[int, int, int, float], float]
Clock = tuple[float, float, float, float, float] | Duration

ADMISSIONS = ("prompt", "chunk", "peak", "look_ahead")
PREEMPTIONS = ("recompute", "swap", "restart", "never")
VICTIMS = (
    "last_admitted",
    "worst_priority",
    "least_computed",
    "most_memory",
    "longest_remaining",
    "rule",
)


def linear(a: float, b: float, c: float, d: float, e: float) -> Duration:
    """Make a clock of five coefficients."""
    return lambda P, B, KV, A: a + b * P + c * B + d * KV + e * A


@dataclass(frozen=True)
class Settings:
    """Settings of one server, under vLLM's names; the last five are options beyond vLLM."""

    num_gpu_blocks: int  # one of them, vLLM's null block, is never usable
    block_size: int = 16
    max_num_seqs: int = 128
    max_num_batched_tokens: int = 2048
    max_model_len: int = NO_LIMIT
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    long_prefill_token_threshold_adaptive: bool = False
    policy: str = "fcfs"
    watermark: float = 0.0
    max_num_active_seqs: int | None = None
    prefill_schedule_interval: int = 1
    admission: str = "prompt"  # vLLM: "prompt" is scheduler_reserve_full_isl, "chunk" is not
    preemption: str = "recompute"
    victim: str | None = None  # None: vLLM's choice for the policy
    swap_s_per_token: float = 0.0
    prefill_first: bool = False

    def __post_init__(self):
        for name, choices in (
            ("policy", ("fcfs", "priority")),
            ("admission", ADMISSIONS),
            ("preemption", PREEMPTIONS),
            ("victim", (None, *VICTIMS)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {choices}")

    @classmethod
    def from_vllm(cls, config: dict) -> Settings:
        """The settings in the meta data of a log of the real scheduler."""
        config = dict(config)
        reserves = config.pop("scheduler_reserve_full_isl")
        return cls(**config, admission="prompt" if reserves else "chunk")

    @property
    def usable_blocks(self) -> int:
        return self.num_gpu_blocks - 1

    @property
    def watermark_blocks(self) -> int:
        return int(self.watermark * self.num_gpu_blocks)

    @property
    def most_running(self) -> int:
        return min(self.max_num_seqs, self.max_num_active_seqs or NO_LIMIT)

    @property
    def victim_rule(self) -> str:
        default = "last_admitted" if self.policy == "fcfs" else "worst_priority"
        return self.victim or default


@dataclass
class Log:
    """Everything one stream did. Columns are lists; steps and requests are counted from 0.

    Columns ``ent_*`` are split among the steps by the running sum of ``step_entries``. Clocks are
    seconds. Steps and times of what never happened are -1 and NaN. ``out_sampled`` counts the
    tokens that a restart did not lose; ``out_recomputed`` the computed tokens that evictions threw
    away; ``step_tokens`` what the cache holds after the step, before finishes give theirs back;
    ``step_swapped`` the tokens swapped out and in; ``step_arrived`` leaves refused requests out.
    """

    status: str = "ok"  # or step_limit, stalled, nan_priority

    step_clock: list[float] = field(default_factory=list)
    step_end: list[float] = field(default_factory=list)
    step_arrived: list[int] = field(default_factory=list)
    step_P: list[int] = field(default_factory=list)
    step_B: list[int] = field(default_factory=list)
    step_KV: list[int] = field(default_factory=list)
    step_free_mid: list[int] = field(default_factory=list)
    step_free_end: list[int] = field(default_factory=list)
    step_running: list[int] = field(default_factory=list)
    step_waiting: list[int] = field(default_factory=list)
    step_entries: list[int] = field(default_factory=list)
    step_tokens: list[int] = field(
        default_factory=list
    )  # computed tokens in the cache, before finishes
    step_swapped: list[int] = field(
        default_factory=list
    )  # tokens swapped out plus tokens swapped in

    ent_req: list[int] = field(default_factory=list)
    ent_tok: list[int] = field(default_factory=list)
    ent_sampled: list[bool] = field(default_factory=list)
    pre_step: list[int] = field(default_factory=list)
    pre_req: list[int] = field(default_factory=list)
    adm_step: list[int] = field(default_factory=list)
    adm_req: list[int] = field(default_factory=list)
    adm_resumed: list[bool] = field(default_factory=list)
    fin_step: list[int] = field(default_factory=list)
    fin_req: list[int] = field(default_factory=list)

    out_status: list[str] = field(default_factory=list)  # finished, refused, unfinished
    out_sampled: list[int] = field(
        default_factory=list
    )  # tokens that count: those lost by a restart do not
    out_preemptions: list[int] = field(default_factory=list)
    out_recomputed: list[int] = field(
        default_factory=list
    )  # computed tokens that evictions threw away
    out_first_sched_step: list[int] = field(default_factory=list)
    out_first_sched_time: list[float] = field(default_factory=list)
    out_first_token_step: list[int] = field(default_factory=list)
    out_first_token_time: list[float] = field(default_factory=list)
    out_finish_step: list[int] = field(default_factory=list)
    out_finish_time: list[float] = field(default_factory=list)

    num_preemptions: int = 0
    recomputed_tokens: int = 0
    busy_s: float = 0.0
    peak_tokens: int = 0
    peak_blocks: int = 0

    @classmethod
    def before_the_first_step(cls, refused: list[bool]) -> Log:
        n = len(refused)
        return cls(
            out_status=["refused" if is_refused else "unfinished" for is_refused in refused],
            out_sampled=[0] * n,
            out_preemptions=[0] * n,
            out_recomputed=[0] * n,
            out_first_sched_step=[-1] * n,
            out_first_sched_time=[math.nan] * n,
            out_first_token_step=[-1] * n,
            out_first_token_time=[math.nan] * n,
            out_finish_step=[-1] * n,
            out_finish_time=[math.nan] * n,
        )

    def add(self, kind: str, **row) -> None:
        """Append one row to the columns ``{kind}_*``."""
        for name, value in row.items():
            getattr(self, f"{kind}_{name}").append(value)

    def add_totals(self, settings: Settings) -> None:
        usable = settings.usable_blocks
        self.num_preemptions = len(self.pre_req)
        self.recomputed_tokens = sum(self.out_recomputed)
        self.busy_s = sum(
            end - start for start, end in zip(self.step_clock, self.step_end, strict=True)
        )
        self.peak_tokens = max(self.step_tokens, default=0)
        self.peak_blocks = usable - min(self.step_free_mid, default=usable)
