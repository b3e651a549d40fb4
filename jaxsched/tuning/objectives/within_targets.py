"""How many requests meet their targets."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxsched._lib.arrays import namespace
from jaxsched._lib.errors import InputError
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.tuning.objectives.service import (
    ServiceObjective,
    Weights,
    checked_weights,
    is_served,
    seconds_of,
    weight_of_each,
)


@dataclasses.dataclass(frozen=True, eq=False)
class WithinTargets(ServiceObjective):
    """Requests that meet every target: their share, or their number a second.

    Attributes:
      weights: how much requests count: one number each, a mapping from clients, or None.
      ttft_slo_s: target for the time to first token; None for the requests' own, if any.
      tpot_slo_s: target for the time per output token, likewise.
      e2e_slo_s: target for the end-to-end latency; None for no target.
      is_rate: whether they are counted a second.
    """

    ttft_slo_s: float | None = None
    tpot_slo_s: float | None = None
    e2e_slo_s: float | None = None
    is_rate: bool = False

    sign = -1

    @property
    def name(self) -> str:
        """What tables call it."""
        return "goodput" if self.is_rate else "attainment"

    @property
    def unit(self) -> str:
        """What it is shown in."""
        return "req/s" if self.is_rate else ""

    def _of_streams(self, reqs: Requests, out: Outcome) -> Any:
        """Return the negative of the share or rate."""
        xp = namespace(out.completion)
        served = is_served(out)
        targets = {
            "ttft": _given_or(self.ttft_slo_s, reqs.ttft_slo_s),
            "tpot": _given_or(self.tpot_slo_s, reqs.tpot_slo_s),
            "e2e": self.e2e_slo_s,
        }
        is_good = served
        for name, target in targets.items():
            if target is not None:
                is_good = is_good & (seconds_of(xp, name, reqs, out) <= target)
        if is_good is served:
            raise InputError(
                "ttft_slo_s",
                None,
                "give it, tpot_slo_s or e2e_slo_s in seconds, or requests with targets of their "
                "own",
                finding="is missing, so there is no target",
            )
        weight = weight_of_each(xp, self.weights, reqs, out.is_real)
        good = xp.where(is_good, weight, 0.0).sum(axis=-1)
        if not self.is_rate:
            return -good / weight.sum(axis=-1)
        first = xp.where(out.is_real, out.arrival, xp.inf).min(axis=-1)
        last = xp.where(served, out.completion, -xp.inf).max(axis=-1)
        is_some = good > 0  # else nothing in no time is nothing
        return xp.where(is_some, -good / xp.where(is_some, last - first, 1.0), 0.0)


def _given_or(target: float | None, own: Any) -> Any:
    return own if target is None else target


def attainment(
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    e2e_slo_s: float | None = None,
    *,
    weights: Weights = None,
) -> WithinTargets:
    r"""Take the share of requests that meet every target.

    .. math:: \frac{\sum_i w_i \, [\text{request } i \text{ met its targets}]}{\sum_i w_i}

    Those refused or unfinished missed them. More is better, so calls return the negative.

    Args:
      ttft_slo_s: target for the time to first token in seconds; None takes the requests' own.
      tpot_slo_s: target for the time per output token, likewise; one output token counts as 0.
      e2e_slo_s: target for the end-to-end latency; None for no target.
      weights: :math:`w`, numbers >= 0: one a request, or a mapping from clients to theirs, where
        those not named weigh 1; None for all alike.

    Returns:
      The objective.

    Raises:
      ValueError: a target or a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> out = js.serve(reqs, js.Server(kv_capacity=160, max_num_batched_tokens=64))
      >>> objective = js.tuning.objectives.attainment(ttft_slo_s=1.6)
      >>> round(float(objective(reqs, out)), 3)
      -0.667
    """
    return WithinTargets(
        checked_weights(weights), *_checked(ttft_slo_s, tpot_slo_s, e2e_slo_s), is_rate=False
    )


def goodput(
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    e2e_slo_s: float | None = None,
    *,
    weights: Weights = None,
) -> WithinTargets:
    r"""Count the requests a second that meet every target.

    .. math:: \frac{\sum_i w_i \, [\text{request } i \text{ met its targets}]}
       {\max_i c_i - \min_i r_i}

    from the first arrival to the last completion. More is better, so calls return the negative.

    Args:
      ttft_slo_s: target for the time to first token in seconds; None takes the requests' own.
      tpot_slo_s: target for the time per output token, likewise; one output token counts as 0.
      e2e_slo_s: target for the end-to-end latency; None for no target.
      weights: :math:`w`, numbers >= 0: one a request, or a mapping from clients to theirs, where
        those not named weigh 1; None for all alike.

    Returns:
      The objective.

    Raises:
      ValueError: a target or a weight is out of range.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> out = js.serve(reqs, js.Server(kv_capacity=160, max_num_batched_tokens=64))
      >>> objective = js.tuning.objectives.goodput(ttft_slo_s=1.6)
      >>> round(float(objective(reqs, out)), 3)  # two in seven seconds
      -0.286

    Source:
      Zhong et al., DistServe, 2024, arXiv:2401.09670.
    """
    return WithinTargets(
        checked_weights(weights), *_checked(ttft_slo_s, tpot_slo_s, e2e_slo_s), is_rate=True
    )


def _checked(*targets: float | None) -> tuple[float | None, ...]:
    names = ("ttft_slo_s", "tpot_slo_s", "e2e_slo_s")
    for name, seconds in zip(names, targets, strict=True):
        if seconds is not None and not (
            isinstance(seconds, (int, float)) and math.isfinite(seconds) and seconds > 0
        ):
            raise InputError(name, seconds, "expected a finite number of seconds > 0")
    return targets
