"""What a schedule is worth: latency, slowdown, KV use and throughput, padding left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import InputError, first_true, index_text
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance, exact_volume
from jaxsched.model.schedule import Schedule
from jaxsched.model.usage import usage_pieces
from jaxsched.model.verify import require_consistent

_MAX_PROFILE_BYTES = 2**31


def summary(
    inst: Instance,
    sched: Schedule,
    clock: LinearClock | None = None,
    deadline_s: float | None = None,
) -> dict[str, np.ndarray]:
    """Every metric of each instance, over its real requests.

    In rounds:

    - ``total_latency_rounds``: total end-to-end latency (TEL), the sum of completions.
    - ``mean_latency_rounds``, ``p50_latency_rounds``, ``p90_``, ``p95_``, ``p99_``, ``max_``:
      of the same; percentiles interpolate linearly, as numpy's do.
    - ``mean_ttft_rounds``, ``p99_ttft_rounds``: time to first token.
    - ``mean_slowdown``, ``p99_slowdown``: latency over output tokens, 1 when never waiting.
    - ``makespan_rounds``: the last completion (int64).
    - ``peak_kv_tokens``: the most tokens held in any round (int64).
    - ``mean_kv_tokens``: tokens held, averaged over the rounds of the makespan.
    - ``throughput_tokens_per_round``: output tokens over makespan.

    With a clock also, in seconds: ``total_latency_s``, ``mean_latency_s``, ``p50_latency_s``,
    ``p90_``, ``p95_``, ``p99_``, ``max_``, ``mean_ttft_s``, ``p99_ttft_s``, ``makespan_s`` and
    ``throughput_tokens_per_s``; and with a deadline ``share_within_deadline``, the share of
    requests that complete by then.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.
      clock: the length of each round, such as ``js.clock.PRESETS["llama2_70b_2xa100"]``.
      deadline_s: seconds after round 0 by which requests should complete; needs a clock.

    Returns:
      One array ``[..]`` a metric, float64 unless said otherwise, in the order above.

    Raises:
      ValueError: an instance was not scheduled or has no real request, the schedule is not of
        this instance, or there is a deadline but no clock.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> found = js.metrics.summary(inst, js.Schedule.from_starts(inst, [0, 2]))
      >>> float(found["total_latency_rounds"]), float(found["mean_slowdown"])
      (8.0, 1.25)
      >>> int(found["peak_kv_tokens"]), float(found["mean_kv_tokens"])
      (5, 3.8333333333333335)
    """
    require_consistent(inst, sched)
    _require_requests(inst)
    if deadline_s is not None:
        _require_deadline_is_usable(clock, deadline_s)

    def block(inst: Instance, sched: Schedule) -> dict[str, np.ndarray]:
        found = _summary_in_rounds(inst, sched)
        if clock is not None:
            found |= _summary_in_seconds(inst, sched, clock, deadline_s)
        return found

    return map_instances(block, inst, sched)


def latency(inst: Instance, sched: Schedule, clock: LinearClock | None = None) -> np.ndarray:
    """End-to-end latency of each request: the end of the round it completes in.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.
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
    require_consistent(inst, sched)
    return _end_of_round(inst, sched, np.asarray(sched.completion), clock)


def time_to_first_token(
    inst: Instance, sched: Schedule, clock: LinearClock | None = None
) -> np.ndarray:
    """When each request's first token is there: the end of the first round it computes in.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.
      clock: gives seconds; without one the unit is rounds.

    Returns:
      float64 ``[.., n]``, NaN for padding.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.metrics.time_to_first_token(inst, js.Schedule.from_starts(inst, [0, 2])).tolist()
      [1.0, 3.0]
    """
    require_consistent(inst, sched)
    return _end_of_round(inst, sched, np.asarray(sched.start) + np.int32(1), clock)


def slowdown(inst: Instance, sched: Schedule) -> np.ndarray:
    """Latency in rounds over output tokens: how much longer than alone a request took.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.

    Returns:
      float64 ``[.., n]``, at least 1; NaN for padding.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.slowdown(inst, sched).tolist()
      [1.0, 1.25]
    """
    return latency(inst, sched) / np.asarray(inst.output_tokens)


def makespan(inst: Instance, sched: Schedule) -> np.ndarray:
    """Return the round of the last completion.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.

    Returns:
      int64 ``[..]`` rounds.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.makespan(inst, sched).item()
      5
    """
    require_consistent(inst, sched)
    return np.asarray(sched.completion, np.int64).max(axis=-1)


def peak_kv_tokens(inst: Instance, sched: Schedule) -> np.ndarray:
    """Return the most tokens held in any round.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.

    Returns:
      int64 ``[..]`` tokens.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.peak_kv_tokens(inst, sched).item()
      7
    """
    require_consistent(inst, sched)

    def block(inst: Instance, sched: Schedule) -> np.ndarray:
        return usage_pieces(inst, sched).tokens_at_end.max(axis=-1)

    return map_instances(block, inst, sched)


def mean_kv_tokens(inst: Instance, sched: Schedule) -> np.ndarray:
    r"""Average the tokens held over the makespan.

    .. math:: \sum_i v_i \,/\, \max_i c_i, \qquad v_i = s_i o_i + \tfrac12 o_i (o_i + 1)

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.

    Returns:
      float64 ``[..]`` tokens.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.Schedule.from_starts(inst, [0, 1])
      >>> js.metrics.mean_kv_tokens(inst, sched).item()
      4.6
    """
    return exact_volume(inst).sum(axis=-1) / makespan(inst, sched)


def kv_profile(inst: Instance, sched: Schedule) -> np.ndarray:
    r"""Tokens held in every round.

    Request :math:`i` holds :math:`s_i + t - p_i` in rounds :math:`p_i < t \le c_i`. The second
    difference of that over rounds is zero but in four places, so all requests are added up in
    one pass and summed twice.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule.

    Returns:
      int64 ``[.., T]``, round t at index t - 1; T is the largest makespan of all instances.

    Raises:
      ValueError: the schedule is not of this instance, or the result would take more than
        2 GiB.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.metrics.kv_profile(inst, js.Schedule.from_starts(inst, [0, 1])).tolist()
      [4, 7, 3, 4, 5]
    """
    span = makespan(inst, sched)
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

    first = row * width + of_real(sched.start)
    after = row * width + of_real(sched.completion)
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


def _summary_in_rounds(inst: Instance, sched: Schedule) -> dict[str, np.ndarray]:
    first_token = time_to_first_token(inst, sched)
    slow = slowdown(inst, sched)
    span = makespan(inst, sched)
    return {
        **latency_statistics(latency(inst, sched), "rounds"),
        "mean_ttft_rounds": _mean(first_token),
        "p99_ttft_rounds": _percentiles(first_token, 99)[0],
        "mean_slowdown": _mean(slow),
        "p99_slowdown": _percentiles(slow, 99)[0],
        "makespan_rounds": span,
        "peak_kv_tokens": peak_kv_tokens(inst, sched),
        "mean_kv_tokens": mean_kv_tokens(inst, sched),
        "throughput_tokens_per_round": _total_output(inst) / span,
    }


def _summary_in_seconds(
    inst: Instance, sched: Schedule, clock: LinearClock, deadline_s: float | None
) -> dict[str, np.ndarray]:
    completes = latency(inst, sched, clock)
    first_token = time_to_first_token(inst, sched, clock)
    span = np.nanmax(completes, axis=-1)
    found = {
        **latency_statistics(completes, "s"),
        "mean_ttft_s": _mean(first_token),
        "p99_ttft_s": _percentiles(first_token, 99)[0],
        "makespan_s": span,
        "throughput_tokens_per_s": _total_output(inst) / span,
    }
    if deadline_s is not None:
        is_within = np.where(inst.is_real, completes <= deadline_s, np.nan)
        found["share_within_deadline"] = _mean(is_within)
    return found


def latency_statistics(values: np.ndarray, unit: str) -> dict[str, np.ndarray]:
    """Sum, mean, percentiles and maximum of latencies, over the real requests of each instance.

    Args:
      values: of :func:`latency`, float64 ``[.., n]``, NaN for padding.
      unit: what they are in, for the names.

    Returns:
      float64 ``[..]`` each: ``total_latency_{unit}``, ``mean_``, ``p50_``, ``p90_``, ``p95_``,
      ``p99_`` and ``max_latency_{unit}``.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> found = js.metrics.latency_statistics(np.array([2.0, 6.0, np.nan]), "rounds")
      >>> float(found["mean_latency_rounds"]), float(found["p50_latency_rounds"])
      (4.0, 4.0)
    """
    p50, p90, p95, p99 = _percentiles(values, 50, 90, 95, 99)
    return {
        f"total_latency_{unit}": np.nansum(values, axis=-1),
        f"mean_latency_{unit}": _mean(values),
        f"p50_latency_{unit}": p50,
        f"p90_latency_{unit}": p90,
        f"p95_latency_{unit}": p95,
        f"p99_latency_{unit}": p99,
        f"max_latency_{unit}": np.nanmax(values, axis=-1),
    }


def _end_of_round(
    inst: Instance, sched: Schedule, rounds: np.ndarray, clock: LinearClock | None
) -> np.ndarray:
    rounds = np.where(inst.is_real, rounds, -1)
    if clock is None:
        return np.where(rounds >= 0, rounds, np.nan)
    return clock.seconds(inst, sched, rounds)


def _mean(values: np.ndarray) -> np.ndarray:
    return np.nansum(values, axis=-1) / np.count_nonzero(~np.isnan(values), axis=-1)


def _percentiles(values: np.ndarray, *percents: int) -> list[np.ndarray]:
    """Numpy's linear percentiles of what is not NaN (its own nanpercentile loops over rows)."""
    ordered = np.sort(values, axis=-1)  # NaN last
    last = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True) - 1

    def percentile(percent: int) -> np.ndarray:
        below, hundredths = np.divmod(percent * last, 100)
        low = np.take_along_axis(ordered, below, axis=-1)
        high = np.take_along_axis(ordered, np.minimum(below + 1, last), axis=-1)
        return (low + (high - low) * (hundredths / 100))[..., 0]

    return [percentile(percent) for percent in percents]


def _total_output(inst: Instance) -> np.ndarray:
    return np.where(inst.is_real, inst.output_tokens, 0).sum(axis=-1, dtype=np.int64)


def _require_requests(inst: Instance) -> None:
    position = first_true(~np.asarray(inst.is_real).any(axis=-1))
    if position is not None:
        named = f"instance {index_text(position)}" if position else "the instance"
        raise ValueError(f"{named} has no real requests, so no latency; leave it out")


def _require_deadline_is_usable(clock: LinearClock | None, deadline_s: float) -> None:
    if clock is None:
        raise InputError(
            "deadline_s",
            deadline_s,
            'pass clock=js.clock.PRESETS["llama2_70b_2xa100"] or a LinearClock of your own',
            finding=f"is {deadline_s} but there is no clock to tell seconds by",
        )
    if not (math.isfinite(deadline_s) and deadline_s > 0):
        raise InputError("deadline_s", deadline_s, "expected a finite number of seconds > 0")
