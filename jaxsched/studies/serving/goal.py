"""What counts as good service, and of how many requests."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.model.requests import Requests

_ROUNDING = 1e-9  # of a mean of shares, which should not decide whether it is enough


class Goal(NamedTuple):
    """The share of requests that should meet every target.

    Attributes:
      attainment: the least share, above 0 and at most 1.
      ttft_slo_s: target for the time to first token in seconds; None for the requests' own.
      tpot_slo_s: target for the time per output token, likewise.
      e2e_slo_s: target for the end-to-end latency; None for no target.
    """

    attainment: float
    ttft_slo_s: float | None = None
    tpot_slo_s: float | None = None
    e2e_slo_s: float | None = None

    @property
    def targets(self) -> dict[str, float | None]:
        """The targets as :func:`jaxsched.metrics.service_summary` takes them."""
        return {name: value for name, value in self._asdict().items() if name != "attainment"}

    @property
    def least(self) -> float:
        """The least mean over streams that is enough, but for its rounding."""
        return self.attainment - _ROUNDING

    def is_met(self, attainment: Any) -> Any:
        """Tell whether a share, or each of several, is enough."""
        return np.asarray(attainment) >= self.least


def checked_goal(reqs: Requests, goal: Goal) -> Goal:
    """Return the goal if it can be met or missed by these requests, or raise."""
    share = goal.attainment
    if not (isinstance(share, (int, float)) and 0 < share <= 1):
        raise InputError("attainment", share, "expected a share above 0 and at most 1, such as 0.9")
    for name, seconds in goal.targets.items():
        if seconds is not None and not (
            isinstance(seconds, (int, float)) and math.isfinite(seconds) and seconds > 0
        ):
            raise InputError(name, seconds, "expected a finite number of seconds > 0")
    if not targets_text(goal.targets, reqs):
        raise InputError(
            "ttft_slo_s",
            None,
            "give it, tpot_slo_s or e2e_slo_s in seconds, or requests with targets of their own",
            finding="is missing, so there is no target",
        )
    return goal


def targets_text(targets: dict[str, Any], reqs: Requests) -> str:
    """Say what a request should meet, empty if nothing."""
    texts = []
    for name in ("ttft", "tpot", "e2e"):
        seconds = targets.get(f"{name}_slo_s")
        if seconds is not None:
            texts.append(f"{name.upper()} at most {seconds:g} s")
        elif getattr(reqs, f"{name}_slo_s", None) is not None:
            texts.append(f"{name.upper()} at most its own target")
    return ", ".join(texts)
