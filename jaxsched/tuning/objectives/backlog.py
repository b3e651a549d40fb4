r"""What tuning makes small of a backlog: one number an instance, from its outcome.

An objective is any function ``(inst, out) -> [..]`` of an instance ``[.., n]`` and its
:class:`~jaxsched.Outcome` that runs under ``jit``. Those here also take relaxed outcomes, whose
times are floats, and are differentiable in them.
``functools.partial(p99_latency, clock=clock)`` counts seconds.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxsched._lib.registry import Registry
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule, Status


class Objective(Protocol):
    """A function of an instance ``[.., n]`` and its outcome: float ``[..]``, lower is better."""

    def __call__(self, inst: Instance, out: Outcome, /) -> Any:
        """Return one number for each instance."""
        ...


def mean_latency(
    inst: Instance, out: Outcome | Schedule, *, clock: LinearClock | None = None
) -> jax.Array:
    r"""Mean latency over the real requests, :math:`\frac1n \sum_i (c_i - a_i)`.

    Args:
      inst: the instance, ``[.., n]``.
      out: its outcome in rounds, maybe a relaxed one, or its schedule.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float32 ``[..]``; NaN where the instance was not scheduled.

    Raises:
      TypeError: a clock is given for a relaxed outcome, which has no rounds to time.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> float(js.tuning.mean_latency(inst, js.Schedule.from_starts(inst, [0, 2])))
      4.0
    """
    return _mean(inst, _latency(inst, out, clock))


def weighted_latency(
    inst: Instance, out: Outcome | Schedule, *, clock: LinearClock | None = None
) -> jax.Array:
    r"""Weighted mean latency, :math:`\sum_i w_i (c_i - a_i) / \sum_i w_i`.

    Args:
      inst: the instance, ``[.., n]``; without weights this is :func:`mean_latency`.
      out: its outcome in rounds, maybe a relaxed one, or its schedule.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float32 ``[..]``; NaN where the instance was not scheduled.

    Raises:
      TypeError: a clock is given for a relaxed outcome, which has no rounds to time.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8, weight=[3.0, 1.0])
      >>> float(js.tuning.weighted_latency(inst, js.Schedule.from_starts(inst, [0, 2])))
      3.0
    """
    if inst.weight is None:
        return mean_latency(inst, out, clock=clock)
    weight = jnp.where(inst.is_real, inst.weight, 0)
    latency = _latency(inst, out, clock)
    return jnp.sum(weight.astype(latency.dtype) * latency, axis=-1) / jnp.sum(weight, axis=-1)


def p_norm(
    inst: Instance, out: Outcome | Schedule, *, power: float = 2.0, clock: LinearClock | None = None
) -> jax.Array:
    r"""Power mean of the latencies, :math:`(\frac1n \sum_i (c_i - a_i)^p)^{1/p}`.

    Between the mean (:math:`p = 1`) and the longest latency (:math:`p \to \infty`); minimising
    it is minimising the p-norm, in the unit of a latency.

    Args:
      inst: the instance, ``[.., n]``.
      out: its outcome in rounds, maybe a relaxed one, or its schedule.
      power: :math:`p \ge 1`.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float32 ``[..]``; NaN where the instance was not scheduled.

    Raises:
      TypeError: a clock is given for a relaxed outcome, which has no rounds to time.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [1, 6], kv_capacity=8)
      >>> float(js.tuning.p_norm(inst, js.Schedule.from_starts(inst, [0, 1])))
      5.0
    """
    latency = _latency(inst, out, clock)
    # The value does not depend on the unit, so neither does the gradient; powers do overflow.
    unit = jax.lax.stop_gradient(jnp.max(jnp.where(inst.is_real, latency, 1), -1, keepdims=True))
    return unit[..., 0] * _mean(inst, (latency / unit) ** power) ** (1 / power)


def p99_latency(
    inst: Instance, out: Outcome | Schedule, *, clock: LinearClock | None = None
) -> jax.Array:
    """99th percentile of the latencies, interpolated linearly as numpy's.

    Args:
      inst: the instance, ``[.., n]``.
      out: its outcome in rounds, maybe a relaxed one, or its schedule.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float32 ``[..]``; NaN where the instance was not scheduled.

    Raises:
      TypeError: a clock is given for a relaxed outcome, which has no rounds to time.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> round(float(js.tuning.p99_latency(inst, js.Schedule.from_starts(inst, [0, 2]))), 2)
      5.96
    """
    latency = _latency(inst, out, clock)
    ordered = jnp.sort(jnp.where(inst.is_real, latency, jnp.inf), axis=-1)
    last = inst.num_requests[..., None] - 1
    below, hundredths = jnp.divmod(99 * last, 100)
    low = jnp.take_along_axis(ordered, below, axis=-1)
    high = jnp.take_along_axis(ordered, jnp.minimum(below + 1, last), axis=-1)
    return (low + (high - low) * (hundredths.astype(low.dtype) / 100))[..., 0]


#: Objectives by name, those of metrics without their unit; ``p99`` is short for ``p99_latency``.
OBJECTIVES: Registry[Objective] = Registry("objective")
OBJECTIVES.add("mean_latency", mean_latency)
OBJECTIVES.add("weighted_latency", weighted_latency)
OBJECTIVES.add("p_norm", p_norm)
OBJECTIVES.add("p99_latency", p99_latency, aliases=["p99"])

#: The name that ``p99_latency`` had first.
p99 = p99_latency


def _mean(inst: Instance, values: jax.Array) -> jax.Array:
    total = jnp.sum(jnp.where(inst.is_real, values, 0), axis=-1)
    return total / inst.num_requests.astype(total.dtype)


def _latency(inst: Instance, out: Outcome | Schedule, clock: LinearClock | None) -> jax.Array:
    """Latencies ``[.., n]``, finite for padding."""
    if isinstance(out, Schedule):
        out = Outcome.from_schedule(inst, out)
    is_relaxed = jnp.issubdtype(out.completion.dtype, jnp.floating)
    if clock is None:
        latency = out.latency if is_relaxed else out.latency.astype(jnp.float32)
    elif is_relaxed:
        raise TypeError(
            "a relaxed outcome has no rounds for a clock to time; take an estimator that "
            "simulates, or an objective in rounds"
        )
    else:
        latency = _seconds(inst, out, clock)
    return jnp.where(inst.is_real, jnp.where(out.status == int(Status.OK), latency, jnp.nan), 1)


def _seconds(inst: Instance, out: Outcome, clock: LinearClock) -> jax.Array:
    """Seconds ``[.., n]``, counted exactly and then rounded to float32."""
    sched = Schedule(out.first_scheduled, out.completion, out.status[..., 0])
    seconds = clock.seconds(inst, sched, out.completion)
    return jnp.asarray(seconds.astype(jnp.float32))
