"""When requests are done: latency, time to first token, slowdown, makespan."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import wrong_shape
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule, Status
from jaxsched.model.verify import require_consistent


def latency(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None
) -> np.ndarray:
    """End-to-end latency of each request: the end of the round it completes in.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float64 ``[.., n]``, NaN for padding.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.latency(inst, sched).tolist()
      [2.0, 5.0]
    """
    out = outcome_of(inst, sched, clock)
    return of_real(out, out.latency)


def time_to_first_token(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None
) -> np.ndarray:
    """When each request's first token is there: the end of the first round it computes in.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float64 ``[.., n]``, NaN for padding.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.metrics.time_to_first_token(inst, js.Schedule.from_starts(inst, [0, 2])).tolist()
      [1.0, 3.0]
    """
    out = outcome_of(inst, sched, clock)
    return of_real(out, out.ttft)


def slowdown(inst: Instance, sched: Schedule | Outcome) -> np.ndarray:
    """Latency in rounds over output tokens: how much longer than alone a request took.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.

    Returns:
      float64 ``[.., n]``, at least 1; NaN for padding.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.slowdown(inst, sched).tolist()
      [1.0, 1.25]
    """
    out = in_rounds(inst, sched)
    return of_real(out, out.latency) / np.asarray(inst.output_tokens)


def makespan(inst: Instance, sched: Schedule | Outcome) -> np.ndarray:
    """Return the round of the last completion.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.

    Returns:
      int64 ``[..]`` rounds.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.makespan(inst, sched).item()
      5
    """
    return in_rounds(inst, sched).completion.astype(np.int64).max(axis=-1)


def outcome_of(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None
) -> Outcome:
    """Read the schedule of a backlog, checked, on the host; an outcome is one already."""
    if isinstance(sched, Outcome):
        if clock is not None:
            raise ValueError(
                f"the outcome counts {sched.time_unit} already; give a clock with a schedule only"
            )
        out = jax.tree.map(np.asarray, sched)
        if out.completion.shape != np.shape(inst.is_real):
            raise wrong_shape(
                "the outcome",
                out.completion.shape,
                beside=f"the instance has {np.shape(inst.is_real)}",
            )
        return out
    require_consistent(inst, sched)
    return Outcome.from_schedule(inst, jax.tree.map(np.asarray, sched), clock)


def in_rounds(inst: Instance, sched: Schedule | Outcome) -> Outcome:
    """Read what counts rounds, or raise."""
    out = outcome_of(inst, sched)
    if out.time_unit != "rounds":
        raise ValueError(
            "the outcome counts seconds; expected rounds, such as those of js.simulate, since "
            "tokens are held by the round"
        )
    return out


def of_real(out: Outcome, values: Any) -> np.ndarray:
    """Values ``[.., n]`` as float64, NaN for padding and for requests that were not served."""
    is_served = np.asarray(out.is_real) & (np.asarray(out.status) == Status.OK)
    return np.where(is_served, values, np.nan)
