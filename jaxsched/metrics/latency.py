"""When requests are done: latency, time to first token, slowdown, makespan."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._lib.arrays import masked, namespace, on_host
from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import wrong_shape
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule, Status
from jaxsched.model.verify import require_consistent, require_schedule_shape


def latency(inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None) -> Any:
    """End-to-end latency of each request: the end of the round it completes in.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float64 ``[.., n]`` whatever jax's width, NaN for padding. Inside ``jit`` or ``vmap`` also
      NaN for requests that were not scheduled, which is an error elsewhere.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.latency(inst, sched).tolist()
      [2.0, 5.0]
    """
    require_readable(inst, sched, clock)
    return map_instances(_latency, inst, sched, shared=(clock,))


def _latency(inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None) -> Any:
    out = read(inst, sched, clock)
    return _of_served(out, out.latency)


def time_to_first_token(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None
) -> Any:
    """When each request's first token is there: the end of the first round it computes in.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float64 ``[.., n]`` whatever jax's width, NaN for padding. Inside ``jit`` or ``vmap`` also
      NaN for requests that were not scheduled, which is an error elsewhere.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.metrics.time_to_first_token(inst, js.Schedule.from_starts(inst, [0, 2])).tolist()
      [1.0, 3.0]
    """
    require_readable(inst, sched, clock)
    return map_instances(_time_to_first_token, inst, sched, shared=(clock,))


def _time_to_first_token(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None
) -> Any:
    out = read(inst, sched, clock)
    return _of_served(out, out.ttft)


def slowdown(inst: Instance, sched: Schedule | Outcome) -> Any:
    """Latency in rounds over output tokens: how much longer than alone a request took.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.

    Returns:
      float64 ``[.., n]`` whatever jax's width, at least 1; NaN for padding, and inside ``jit`` or
      ``vmap`` for requests that were not scheduled.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.slowdown(inst, sched).tolist()
      [1.0, 1.25]
    """
    require_readable(inst, sched)
    require_rounds(sched)
    return map_instances(_slowdown, inst, sched)


def _slowdown(inst: Instance, sched: Schedule | Outcome) -> Any:
    out = read(inst, sched)
    return _of_served(out, slowdown_of(inst, out))


def slowdown_of(inst: Instance, out: Outcome) -> Any:
    """Slowdown of each request, float64 ``[.., n]``, also of what was not served."""
    xp = namespace(out.completion)
    return out.latency.astype(xp.float64) / inst.output_tokens.astype(xp.float64)


def makespan(inst: Instance, sched: Schedule | Outcome) -> Any:
    """Return the round of the last completion.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.

    Returns:
      int64 ``[..]`` rounds whatever jax's width; -1 where nothing was served.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.makespan(inst, sched).item()
      5
    """
    require_readable(inst, sched)
    require_rounds(sched)
    return map_instances(_makespan, inst, sched)


def _makespan(inst: Instance, sched: Schedule | Outcome) -> Any:
    return makespan_of(read(inst, sched))


def makespan_of(out: Outcome) -> Any:
    """Round of the last completion, int64 ``[..]``; -1 where nothing was served."""
    xp = namespace(out.completion)
    return masked(out.completion, is_served(out), -1).max(axis=-1).astype(xp.int64)


def require_readable(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None
) -> None:
    """Raise unless this is a schedule or an outcome of the instance, by value too.

    Inside a trace only shapes are checked.
    """
    require_same_shape(inst, sched, clock)
    if isinstance(sched, Schedule):
        require_consistent(inst, sched)


def require_same_shape(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None
) -> None:
    """Raise unless this has the shape of the instance, without a clock too many."""
    if isinstance(sched, Schedule):
        require_schedule_shape(inst, sched)
        return
    if clock is not None:
        raise ValueError(
            f"the outcome counts {sched.time_unit} already; give a clock with a schedule only"
        )
    if (shape := np.shape(sched.completion)) != np.shape(inst.is_real):
        beside = f"the instance has {np.shape(inst.is_real)}"
        raise wrong_shape("the outcome", shape, beside=beside)


def require_rounds(sched: Schedule | Outcome) -> None:
    """Raise unless this counts rounds."""
    if isinstance(sched, Outcome) and sched.time_unit != "rounds":
        raise ValueError(
            "the outcome counts seconds; expected rounds, such as those of js.simulate, since "
            "tokens are held by the round"
        )


def read(inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None) -> Outcome:
    """Read a schedule as an outcome, which an outcome is already."""
    return sched if isinstance(sched, Outcome) else Outcome.from_schedule(inst, sched, clock)


def outcome_of(
    inst: Instance, sched: Schedule | Outcome, clock: LinearClock | None = None
) -> Outcome:
    """Read the schedule of a backlog, checked, on the host; an outcome is one already."""
    require_readable(inst, sched, clock)
    inst, sched = on_host((inst, sched))
    return on_host(read(inst, sched, clock))


def in_rounds(inst: Instance, sched: Schedule | Outcome) -> Outcome:
    """Read what counts rounds on the host, or raise."""
    require_rounds(sched)
    return outcome_of(inst, sched)


def is_served(out: Outcome) -> Any:
    """Whether each request is real and was served, bool ``[.., n]``."""
    return out.is_real & (out.status == int(Status.OK))


def _of_served(out: Outcome, values: Any) -> Any:
    """Values ``[.., n]`` as float64, NaN for padding and for requests that were not served."""
    xp = namespace(values)
    return xp.where(is_served(out), values.astype(xp.float64), xp.nan)
