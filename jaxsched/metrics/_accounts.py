"""What one client got by when, and how far two clients drift apart while both wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests

_OUTPUT_WEIGHT = 2  # of an output token, beside a prompt token


class Account(NamedTuple):
    """Requests of one client: of those that were served, and when any of them waited."""

    prompt: np.ndarray
    output: np.ndarray
    scheduled: np.ndarray
    first_token: np.ndarray
    completion: np.ndarray
    waits_from: np.ndarray
    waits_until: np.ndarray

    @property
    def total(self) -> int:
        """Service in the end."""
        return int(self.prompt.sum() + _OUTPUT_WEIGHT * self.output.sum())

    @property
    def moments(self) -> np.ndarray:
        """When its service jumps or bends, or its waiting begins or ends."""
        moments = np.concatenate(self[2:])
        return moments[np.isfinite(moments)]

    def service(self, at: np.ndarray, side: str) -> np.ndarray:
        """Service until just before (``"left"``) or just after (``"right"``) some times.

        A request gets its prompt and its first token at once, and the other ``o - 1`` tokens at
        an even rate, or at once too if they take no time.
        """
        later, span = self.output - 1, self.completion - self.first_token
        rate = np.divide(later, span, out=np.zeros_like(span), where=span > 0)
        at_once = 1.0 + np.where(span > 0, 0, later)
        scheduled = _sums_until(self.scheduled, at, side)
        begun = _sums_until(self.first_token, at, side)
        ended = _sums_until(self.completion, at, side)
        flowed = begun(rate) * at - begun(rate * self.first_token)
        not_flowed = ended(rate) * at - ended(rate * self.completion)
        return scheduled(self.prompt) + _OUTPUT_WEIGHT * (begun(at_once) + flowed - not_flowed)

    def waits(self, at: np.ndarray) -> np.ndarray:
        """Whether a request waits just after some times."""
        begun = np.searchsorted(np.sort(self.waits_from), at, side="right")
        return begun > np.searchsorted(np.sort(self.waits_until), at, side="right")


def account(
    reqs: Requests, output: np.ndarray, out: Outcome, is_served: np.ndarray, is_waiting: np.ndarray
) -> Account:
    """Open the account of a client, whose requests the masks ``[n]`` choose."""
    until = out.first_scheduled[is_waiting]
    return Account(
        prompt=reqs.prompt_tokens[is_served].astype(np.int64),
        output=output[is_served],
        scheduled=out.first_scheduled[is_served],
        first_token=out.first_token[is_served],
        completion=out.completion[is_served],
        waits_from=out.arrival[is_waiting],
        waits_until=np.where(np.isnan(until), np.inf, until),
    )


def largest_difference(u: Account, v: Account) -> float:
    """Most that one of two clients gets beyond the other in a time when both always wait."""
    at = np.unique(np.concatenate([u.moments, v.moments]))
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


def _sums_until(times: np.ndarray, at: np.ndarray, side: str) -> Callable[..., np.ndarray]:
    """Make the function that adds up amounts, one for each of ``times``, until ``at``."""
    order = np.argsort(times, kind="stable")
    count = np.searchsorted(times[order], at, side="left" if side == "left" else "right")
    return lambda amount: np.append(0.0, np.cumsum(amount[order]))[count]
