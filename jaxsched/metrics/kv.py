"""Tokens held over the rounds of a backlog."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._lib.arrays import namespace, on_host, refuse_traced
from jaxsched._lib.chunks import map_instances
from jaxsched.metrics.latency import in_rounds, makespan_of, read, require_readable, require_rounds
from jaxsched.model.instance import Instance, exact_volume
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule
from jaxsched.model.usage import events_in_order, usage_pieces

_MAX_PROFILE_BYTES = 2**31


def peak_kv_tokens(inst: Instance, sched: Schedule | Outcome) -> Any:
    """Return the most tokens held in any round.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.

    Returns:
      int64 ``[..]`` tokens whatever jax's width.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.peak_kv_tokens(inst, sched).item()
      7
    """
    require_readable(inst, sched)
    require_rounds(sched)
    return map_instances(_peak, inst, sched)


def _peak(inst: Instance, sched: Schedule | Outcome) -> Any:
    return peak_of(inst, read(inst, sched))


def peak_of(inst: Instance, out: Outcome) -> Any:
    """Most tokens held in any round, int64 ``[..]``; 0 where nothing was scheduled."""
    pieces = usage_pieces(events_in_order(inst, out.first_scheduled, out.completion))
    most = pieces.tokens_at_end.max(axis=-1)
    return namespace(most).maximum(most, 0)


def mean_kv_tokens(inst: Instance, sched: Schedule | Outcome) -> Any:
    r"""Average the tokens held over the makespan.

    .. math:: \sum_i v_i \,/\, \max_i c_i, \qquad v_i = s_i o_i + \tfrac12 o_i (o_i + 1)

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.

    Returns:
      float64 ``[..]`` tokens whatever jax's width; NaN where nothing was served.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.mean_kv_tokens(inst, sched).item()
      4.6
    """
    require_readable(inst, sched)
    require_rounds(sched)
    return map_instances(_mean, inst, sched)


def _mean(inst: Instance, sched: Schedule | Outcome) -> Any:
    return mean_of(inst, makespan_of(read(inst, sched)))


def mean_of(inst: Instance, span: Any) -> Any:
    """Tokens held over a makespan, float64 ``[..]``; NaN where nothing was served."""
    return per(exact_volume(inst).sum(axis=-1), span)


def per(amount: Any, span: Any) -> Any:
    """Divide by a makespan, float64 ``[..]``; NaN where nothing was served."""
    xp = namespace(span)
    amount, span = amount.astype(xp.float64), span.astype(xp.float64)
    return amount / xp.where(span > 0, span, xp.nan)


def kv_profile(inst: Instance, sched: Schedule | Outcome) -> np.ndarray:
    r"""Tokens held in every round.

    Request :math:`i` holds :math:`s_i + t - p_i` in rounds :math:`p_i < t \le c_i`. The second
    difference of that over rounds is zero but in four places, so all requests are added up in
    one pass and summed twice.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.

    Returns:
      int64 ``[.., T]``, round t at index t - 1; T is the largest makespan of all instances.

    Raises:
      TypeError: an argument is traced.
      ValueError: the schedule is not of this instance, or the result
        would take more than 2 GiB.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.metrics.kv_profile(inst, js.Schedule.from_starts(inst, [0, 1])).tolist()
      [4, 7, 3, 4, 5]
    """
    refuse_traced(
        "kv_profile returns as many rounds as the values say",
        "call it outside, or peak_kv_tokens and mean_kv_tokens inside",
        (inst, sched),
    )
    inst, out = on_host(inst), in_rounds(inst, sched)
    span = makespan_of(out)
    num_rounds = int(span.max(initial=0))
    width = num_rounds + 2  # what a completion takes back falls up to two rounds behind it
    if (num_bytes := 8 * span.size * width) > _MAX_PROFILE_BYTES:
        raise ValueError(
            f"the profile of {span.size} instances over {num_rounds} rounds would take "
            f"{num_bytes / 2**30:.1f} GiB, more than {_MAX_PROFILE_BYTES / 2**30:.0f}; take fewer "
            "instances at a time, or peak_kv_tokens and mean_kv_tokens, which need no profile"
        )
    row, request = np.nonzero(np.asarray(inst.is_real).reshape(span.size, -1))

    def of_real(field: Any) -> np.ndarray:
        return np.asarray(field, np.int64).reshape(span.size, -1)[row, request]

    first = row * width + of_real(out.first_scheduled)
    after = row * width + of_real(out.completion)
    prompt, output = of_real(inst.prompt_tokens), of_real(inst.output_tokens)

    held = np.zeros(span.size * width, np.int64)
    np.add.at(held, first, prompt + 1)
    np.add.at(held, first + 1, -prompt)
    np.add.at(held, after, -(prompt + output + 1))
    np.add.at(held, after + 1, prompt + output)
    held = held.reshape(*span.shape, width)
    for _ in range(2):
        np.cumsum(held, axis=-1, out=held)
    return held[..., :num_rounds]
