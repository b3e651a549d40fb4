"""What tuning makes small: of backlogs in rounds or by a clock, of served requests in seconds.

==================== ====================================================================
of backlogs          :func:`mean_latency`, :func:`p_norm`, :func:`p99_latency`,
                     :func:`weighted_latency`
share of requests    :func:`attainment`; :func:`goodput` counts them a second
seconds of requests  :func:`mean_ttft`, :func:`p99_ttft`, the same of ``tpot`` and ``e2e``
seconds over alone   :func:`mean_slowdown`, :func:`p99_slowdown`
several at once      :func:`weighted_sum`
==================== ====================================================================
"""

from __future__ import annotations

from jaxsched.tuning.objectives.backlog import (
    OBJECTIVES,
    Objective,
    mean_latency,
    p99,
    p99_latency,
    p_norm,
    weighted_latency,
)
from jaxsched.tuning.objectives.seconds import (
    Seconds,
    mean_e2e,
    mean_slowdown,
    mean_tpot,
    mean_ttft,
    p99_e2e,
    p99_slowdown,
    p99_tpot,
    p99_ttft,
)
from jaxsched.tuning.objectives.service import ServiceObjective, natural
from jaxsched.tuning.objectives.sums import WeightedSum, weighted_sum
from jaxsched.tuning.objectives.within_targets import WithinTargets, attainment, goodput

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Seconds",
    "ServiceObjective",
    "WeightedSum",
    "WithinTargets",
    "attainment",
    "goodput",
    "mean_e2e",
    "mean_latency",
    "mean_slowdown",
    "mean_tpot",
    "mean_ttft",
    "natural",
    "p99",
    "p99_e2e",
    "p99_latency",
    "p99_slowdown",
    "p99_tpot",
    "p99_ttft",
    "p_norm",
    "weighted_latency",
    "weighted_sum",
]
