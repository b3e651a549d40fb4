"""What one client got by when, and how far two clients drift apart while both wait."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests

_OUTPUT_WEIGHT = 2  # of an output token, beside a prompt token


class Account(NamedTuple):
    """Service of one client, piecewise linear in time, and when its requests wait.

    Attributes:
      total: service in the end.
      moments: float64 ``[m]``, ascending, when the service jumps or bends.
      constant: float64 ``[m + 1]``; after k moments the service is ``constant[k] + slope[k] t``.
      slope: float64 ``[m + 1]``.
      waits_from: when requests begin to wait, ascending.
      waits_until: when requests are first scheduled, ascending; infinite if never.
    """

    total: int
    moments: np.ndarray
    constant: np.ndarray
    slope: np.ndarray
    waits_from: np.ndarray
    waits_until: np.ndarray

    def service(self, at: np.ndarray, side: str) -> np.ndarray:
        """Service until just before (``"left"``) or just after (``"right"``) some times."""
        passed = np.searchsorted(self.moments, at, side="left" if side == "left" else "right")
        return self.constant[passed] + self.slope[passed] * at

    def waits(self, at: np.ndarray) -> np.ndarray:
        """Whether a request waits just after some times."""
        begun = np.searchsorted(self.waits_from, at, side="right")
        return begun > np.searchsorted(self.waits_until, at, side="right")


def account(
    reqs: Requests, output: np.ndarray, out: Outcome, is_served: np.ndarray, is_waiting: np.ndarray
) -> Account:
    """Open the account of a client, whose requests the masks ``[n]`` choose.

    A request gets its prompt when it is first scheduled, its first token at once, and the other
    ``o - 1`` at an even rate, or at once too if they take no time.
    """
    prompt, output = reqs.prompt_tokens[is_served].astype(np.float64), output[is_served]
    scheduled, first, last = (
        each[is_served] for each in (out.first_scheduled, out.first_token, out.completion)
    )
    later, span = _OUTPUT_WEIGHT * (output - 1), last - first
    rate = np.divide(later, span, out=np.zeros_like(span), where=span > 0)
    at_once = _OUTPUT_WEIGHT + np.where(span > 0, 0, later)
    moments = np.concatenate([scheduled, first, last])
    constant = np.concatenate([prompt, at_once - rate * first, rate * last])
    slope = np.concatenate([np.zeros_like(rate), rate, -rate])
    order = np.argsort(moments)
    until = out.first_scheduled[is_waiting]
    return Account(
        total=int(prompt.sum() + _OUTPUT_WEIGHT * output.sum()),
        moments=moments[order],
        constant=np.append(0.0, np.cumsum(constant[order])),
        slope=np.append(0.0, np.cumsum(slope[order])),
        waits_from=np.sort(out.arrival[is_waiting]),
        waits_until=np.sort(np.where(np.isnan(until), np.inf, until)),
    )


def largest_difference(u: Account, v: Account) -> float:
    """Most that one of two clients gets beyond the other in a time when both always wait."""
    at = np.unique(np.concatenate([each for one in (u, v) for each in (one.moments, *one[-2:])]))
    at = at[np.isfinite(at)]
    if at.size < 2:
        return 0.0
    before, after = (u.service(at, side) - v.service(at, side) for side in ("left", "right"))
    both_wait = np.flatnonzero((u.waits(at) & v.waits(at))[:-1])  # from a moment to the next
    if not both_wait.size:
        return 0.0
    reached = np.stack([before[both_wait], after[both_wait], before[both_wait + 1]])
    run = np.flatnonzero(np.diff(both_wait, prepend=-2) > 1)  # where an unbroken time begins
    highest = np.maximum.reduceat(reached.max(axis=0), run)
    lowest = np.minimum.reduceat(reached.min(axis=0), run)
    return float((highest - lowest).max())
