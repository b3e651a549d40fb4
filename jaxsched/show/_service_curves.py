"""How many requests run and wait, and how full the KV cache is, over the time of one stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Status
from jaxsched.model.service.log import ServiceLog


class ServiceCurves(NamedTuple):
    """Values that hold from one moment to the next, ``[moments]`` each.

    Attributes:
      at_s: float64, ascending seconds.
      running: requests that run.
      waiting: requests that wait.
      kv: share of the blocks that are held; None where no log tells.
    """

    at_s: np.ndarray
    running: np.ndarray
    waiting: np.ndarray
    kv: np.ndarray | None


def curves_of_log(columns: Mapping[str, Any]) -> ServiceCurves:
    """Read a recorded run; between its steps nothing runs or waits.

    The share is one of the most blocks ever free at once, which are all of them if the run began
    or ended idle.
    """
    log = ServiceLog.from_columns(columns)
    usable = max(log.step_free_end.max(initial=1), log.step_free_mid.max(initial=1))
    is_followed = np.append(log.step_clock[1:] <= log.step_end[:-1], False)
    ends = log.step_end[~is_followed[: log.num_steps]]
    at_s = np.concatenate([log.step_clock, ends])
    order = np.argsort(at_s, kind="stable")

    def idle_after(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.zeros(ends.size)])[order]

    return ServiceCurves(
        at_s=at_s[order],
        running=idle_after(log.step_running),
        waiting=idle_after(log.step_waiting),
        kv=idle_after(1 - log.step_free_mid / usable),
    )


def curves_of_outcome(out: Outcome) -> ServiceCurves:
    """Read the times of requests; one that is evicted counts as running until it completes."""
    is_queued = np.asarray(out.is_real) & (np.asarray(out.status) != Status.REFUSED)
    arrival, scheduled, completion = (
        np.asarray(each)[is_queued] for each in (out.arrival, out.first_scheduled, out.completion)
    )
    times = np.concatenate([arrival, scheduled, completion])
    happens = np.isfinite(times)
    one = np.ones(arrival.size)
    starts = np.concatenate([0 * one, one, -one])[happens]
    waits = np.concatenate([one, -one, 0 * one])[happens]
    at_s, place = np.unique(times[happens], return_inverse=True)
    return ServiceCurves(
        at_s=at_s,
        running=np.cumsum(np.bincount(place, starts)),
        waiting=np.cumsum(np.bincount(place, waits)),
        kv=None,
    )
