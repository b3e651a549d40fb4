"""The independent judge of whether a schedule fits the KV cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import reject, wrong_shape
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule, require_ok
from jaxsched.model.usage import usage_pieces


class Verdict(NamedTuple):
    """What :func:`verify` found in each instance (numpy arrays of the leading shape ``[..]``).

    Attributes:
      is_feasible: bool; the tokens held never exceed the capacity.
      first_violated_round: int64; the first round that holds too much, -1 where none does.
      tokens_held: int64; tokens held in that round, 0 where there is none.
      kv_capacity: int64; tokens the cache holds.
    """

    is_feasible: np.ndarray
    first_violated_round: np.ndarray
    tokens_held: np.ndarray
    kv_capacity: np.ndarray


def verify(inst: Instance, sched: Schedule) -> Verdict:
    r"""Check a schedule against the capacity, by sums of its own (no simulator involved).

    Round :math:`t` holds :math:`\sum_{p_i < t \le c_i} (s_i + t - p_i)` tokens; a feasible
    schedule never holds more than :math:`M`.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, by :func:`simulate` or :meth:`Schedule.from_starts`.

    Returns:
      A :class:`Verdict` with one entry an instance.

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
    require_consistent(inst, sched)
    return map_instances(_verdict, inst, sched)


def _verdict(inst: Instance, sched: Schedule) -> Verdict:
    pieces = usage_pieces(inst, sched.start, sched.completion)
    capacity = np.asarray(inst.kv_capacity, np.int64)
    is_over = pieces.tokens_at_end > capacity[..., None]
    is_feasible = np.asarray(~is_over.any(axis=-1))

    first = np.argmax(is_over, axis=-1)[..., None]
    begin, _, base, slope = (np.take_along_axis(field, first, axis=-1)[..., 0] for field in pieces)
    # base + slope t > M first holds at t = floor((M - base) / slope) + 1, or at once.
    crossing = np.floor_divide(capacity - base, np.maximum(slope, 1)) + 1
    violated = np.maximum(begin + 1, crossing)
    return Verdict(
        is_feasible=is_feasible,
        first_violated_round=np.where(is_feasible, -1, violated),
        tokens_held=np.where(is_feasible, 0, base + slope * violated),
        kv_capacity=capacity,
    )


def require_consistent(inst: Instance, sched: Schedule) -> None:
    """Raise unless the schedule places every real request of just this instance."""
    real = np.asarray(inst.is_real)
    start = np.asarray(sched.start, np.int64)
    completion = np.asarray(sched.completion, np.int64)
    if start.shape != real.shape or completion.shape != real.shape:
        raise wrong_shape("the schedule", start.shape, beside=f"the instance has {real.shape}")
    require_ok(sched)
    reject("start", start, real & (start < 0), "expected a round >= 0 for a real request")
    is_off = real & (completion != start + np.asarray(inst.output_tokens, np.int64))
    reject("completion", completion, is_off, "expected start + output_tokens")
