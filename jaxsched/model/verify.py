"""The independent judge of whether a schedule fits the KV cache."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.arrays import is_traced, namespace
from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import reject, wrong_shape
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule, Status, require_ok
from jaxsched.model.usage import events_in_order, usage_pieces


class Verdict(NamedTuple):
    """What :func:`verify` found in each instance (arrays of the leading shape ``[..]``).

    Attributes:
      is_feasible: bool; the tokens held never exceed the capacity.
      first_violated_round: int64; the first round that holds too much, -1 where none does.
      tokens_held: int64; tokens held in that round, 0 where there is none.
      kv_capacity: int64; tokens the cache holds.
    """

    is_feasible: Any
    first_violated_round: Any
    tokens_held: Any
    kv_capacity: Any


def verify(inst: Instance, sched: Schedule) -> Verdict:
    r"""Check a schedule against the capacity, by sums of its own (no simulator involved).

    Round :math:`t` holds :math:`\sum_{p_i < t \le c_i} (s_i + t - p_i)` tokens; a feasible
    schedule never holds more than :math:`M`. All of it is exact integer arithmetic.

    Inside ``jit`` and ``vmap`` nothing can be raised for a value. There a schedule that is not of
    this instance, or of an instance that was not scheduled, is not feasible, with no violated
    round.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, by :func:`simulate` or :meth:`Schedule.from_starts`.

    Returns:
      A :class:`Verdict` with one entry an instance, int64 whatever jax's width.

    Raises:
      ValueError: shapes disagree, a real request was not scheduled, or a completion is not
        ``start + output_tokens``.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> verdict = js.verify(inst, js.Schedule.from_starts(inst, [0, 0]))
      >>> bool(verdict.is_feasible)
      True
      >>> tight = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=6)
      >>> js.verify(tight, js.Schedule.from_starts(tight, [0, 0])).first_violated_round.item()
      2
    """
    require_schedule_shape(inst, sched)
    verdict, is_judged = map_instances(_verdict, inst, sched)
    refuse_inconsistent(inst, sched, is_judged)
    return verdict


def _verdict(inst: Instance, sched: Schedule) -> tuple[Verdict, Any]:
    xp = namespace(sched.start)
    pieces = usage_pieces(events_in_order(inst, sched.start, sched.completion))
    capacity = inst.kv_capacity.astype(xp.int64)
    is_over = (pieces.tokens_at_end > capacity[:, None]) & (pieces.begin < pieces.end)
    is_judged = is_consistent(inst, sched)
    is_violated = is_judged & is_over.any(axis=-1)

    # What argmax would say, which jax cannot lower for 64 bits in a caller's narrow program.
    num_before = (xp.cumsum(is_over.astype(xp.int64), axis=-1) == 0).sum(
        axis=-1, keepdims=True, dtype=xp.int64
    )
    first = xp.minimum(num_before, is_over.shape[-1] - 1)
    begin, _, base, slope = (xp.take_along_axis(field, first, axis=-1)[:, 0] for field in pieces)
    # base + slope t > M first holds at t = floor((M - base) / slope) + 1, or at once.
    crossing = (capacity - base) // xp.maximum(slope, 1) + 1
    violated = xp.maximum(begin + 1, crossing)
    verdict = Verdict(
        is_feasible=is_judged & ~is_violated,
        first_violated_round=xp.where(is_violated, violated, -1),
        tokens_held=xp.where(is_violated, base + slope * violated, 0),
        kv_capacity=capacity,
    )
    return verdict, is_judged


def require_consistent(inst: Instance, sched: Schedule) -> None:
    """Raise unless the schedule places every real request of just this instance.

    Inside a trace only shapes are checked.
    """
    require_schedule_shape(inst, sched)
    if not is_traced(inst, sched):
        refuse_inconsistent(inst, sched, map_instances(is_consistent, inst, sched))


def require_schedule_shape(inst: Instance, sched: Schedule) -> None:
    """Raise unless the schedule has the shape of the instance."""
    shape = np.shape(inst.is_real)
    for field in (sched.start, sched.completion):
        if np.shape(field) != shape:
            raise wrong_shape("the schedule", np.shape(field), beside=f"the instance has {shape}")


def refuse_inconsistent(inst: Instance, sched: Schedule, is_consistent: Any) -> None:
    """Raise for the first value at fault if not all are consistent; a trace cannot tell."""
    if is_traced(is_consistent) or np.all(is_consistent):
        return
    require_ok(sched)
    real = np.asarray(inst.is_real)
    start, completion = (np.asarray(each, np.int64) for each in (sched.start, sched.completion))
    reject("start", start, real & (start < 0), "expected a round >= 0 for a real request")
    is_off = real & (completion != start + np.asarray(inst.output_tokens, np.int64))
    reject("completion", completion, is_off, "expected start + output_tokens")


def is_consistent(inst: Instance, sched: Schedule) -> Any:
    """Whether each schedule ``[rows, n]`` places every real request of its instance."""
    start, completion = sched.start, sched.completion
    # Of two rounds that are not negative the difference is exact, also in 32 bits.
    is_placed = (start >= 0) & (completion >= 0) & (completion - start == inst.output_tokens)
    return (sched.status == int(Status.OK)) & (is_placed | ~inst.is_real).all(axis=-1)
