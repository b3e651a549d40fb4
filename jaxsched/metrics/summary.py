"""Every metric of a backlog, over its real requests."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from jaxsched._lib.arrays import in_jax, is_traced, masked, namespace
from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import InputError, first_true, index_text
from jaxsched.metrics.distribution import distribution, mean, percentiles, total
from jaxsched.metrics.kv import mean_of, peak_of, per
from jaxsched.metrics.latency import (
    is_served,
    makespan_of,
    read,
    require_rounds,
    require_same_shape,
    slowdown_of,
)
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule
from jaxsched.model.verify import is_consistent, refuse_inconsistent

_HAS_REQUESTS, _IS_CONSISTENT = "has_requests", "is_consistent"


def summary(
    inst: Instance,
    sched: Schedule | Outcome,
    clock: LinearClock | None = None,
    deadline_s: float | None = None,
) -> dict[str, Any]:
    r"""Every metric of each instance, over its real requests.

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

    If the instance has weights :math:`w_i` also, and with a clock in seconds as well:

    - ``total_weighted_latency_rounds``: :math:`\sum_i w_i c_i`.
    - ``mean_weighted_latency_rounds``: that over :math:`\sum_i w_i`.

    All other metrics count every request alike.

    With a clock also, in seconds: ``total_latency_s``, ``mean_latency_s``, ``p50_latency_s``,
    ``p90_``, ``p95_``, ``p99_``, ``max_``, ``mean_ttft_s``, ``p99_ttft_s``, ``makespan_s`` and
    ``throughput_tokens_per_s``; and with a deadline ``share_within_deadline``, the share of
    requests that complete by then.

    Concrete arrays run on all cores, or as one program on an accelerator. Inside ``jit`` or
    ``vmap``, also over clocks, no value is checked: there an instance that was not scheduled, or
    has no real request, has NaN in all metrics, -1 as its makespan and 0 as its peak.

    Args:
      inst: the instance, ``[.., n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.
      clock: the length of each round, such as ``js.clock.PRESETS["llama2_70b_2xa100"]``.
      deadline_s: seconds after round 0 by which requests should complete; needs a clock.

    Returns:
      One array ``[..]`` a metric, float64 unless said otherwise and whatever jax's width, in the
      order above; ``jit`` sorts the keys.

    Raises:
      ValueError: an instance was not scheduled or has no real request, the schedule is not of
        this instance, or there is a deadline but no clock.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> metrics = js.metrics.summary(inst, js.Schedule.from_starts(inst, [0, 2]))
      >>> float(metrics["total_latency_rounds"]), float(metrics["mean_slowdown"])
      (8.0, 1.25)
      >>> int(metrics["peak_kv_tokens"]), float(metrics["mean_kv_tokens"])
      (5, 3.8333333333333335)
    """
    require_same_shape(inst, sched, clock)
    require_rounds(sched)
    if deadline_s is not None:
        _require_deadline_is_usable(clock, deadline_s)
    measures = map_instances(_summary, inst, sched, shared=(clock, deadline_s))
    has_requests = measures.pop(_HAS_REQUESTS)
    if isinstance(sched, Schedule):
        refuse_inconsistent(inst, sched, measures.pop(_IS_CONSISTENT))
    _refuse_empty(has_requests)
    return measures


def _summary(
    inst: Instance,
    sched: Schedule | Outcome,
    clock: LinearClock | None,
    deadline_s: float | None,
) -> dict[str, Any]:
    """Metrics and, in the same pass, whether the instance and its schedule allow them."""
    measures = _in_rounds(inst, read(inst, sched))
    if clock is not None:
        measures |= _in_seconds(inst, read(inst, sched, clock), deadline_s)
    measures[_HAS_REQUESTS] = inst.is_real.any(axis=-1)
    if isinstance(sched, Schedule):
        measures[_IS_CONSISTENT] = is_consistent(inst, sched)
    return measures


def latency_statistics(values: Any, unit: str) -> dict[str, Any]:
    """Sum, mean, percentiles and maximum of latencies, over the real requests of each instance.

    Args:
      values: of :func:`latency`, float64 ``[.., n]``, NaN for padding.
      unit: what they are in, for the names.

    Returns:
      float64 ``[..]`` each: ``total_latency_{unit}``, ``mean_``, ``p50_``, ``p90_``, ``p95_``,
      ``p99_`` and ``max_latency_{unit}``; NaN where no request is real.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> statistics = js.metrics.latency_statistics(np.array([2.0, 6.0, np.nan]), "rounds")
      >>> float(statistics["mean_latency_rounds"]), float(statistics["p50_latency_rounds"])
      (4.0, 4.0)
    """
    with jax.enable_x64(True):
        if not in_jax(values):
            values = np.asarray(values)
        return _latency_statistics(values, ~namespace(values).isnan(values), unit)


def _latency_statistics(values: Any, counts: Any, unit: str) -> dict[str, Any]:
    xp = namespace(values)
    sums = total(values, counts)
    return {
        f"total_latency_{unit}": xp.where(counts.any(axis=-1), sums, xp.nan),
        **distribution(f"latency_{unit}", values, counts),
    }


def _weighted(inst: Instance, out: Outcome, counts: Any, unit: str) -> dict[str, Any]:
    if inst.weight is None:
        return {}
    xp = namespace(out.completion)
    weight = inst.weight.astype(xp.float64)
    sums = total(weight * out.latency, counts)
    sums = xp.where(counts.any(axis=-1), sums, xp.nan)
    return {
        f"total_weighted_latency_{unit}": sums,
        f"mean_weighted_latency_{unit}": sums / total(weight, counts),
    }


def _in_rounds(inst: Instance, out: Outcome) -> dict[str, Any]:
    counts, slow, span = is_served(out), slowdown_of(inst, out), makespan_of(out)
    return {
        **_latency_statistics(out.latency, counts, "rounds"),
        **_weighted(inst, out, counts, "rounds"),
        "mean_ttft_rounds": mean(out.ttft, counts),
        "p99_ttft_rounds": percentiles(out.ttft, counts, 99)[0],
        "mean_slowdown": mean(slow, counts),
        "p99_slowdown": percentiles(slow, counts, 99)[0],
        "makespan_rounds": span,
        "peak_kv_tokens": peak_of(inst, out),
        "mean_kv_tokens": mean_of(inst, span),
        "throughput_tokens_per_round": per(_total_output(inst), span),
    }


def _in_seconds(inst: Instance, out: Outcome, deadline_s: float | None) -> dict[str, Any]:
    xp, counts = namespace(out.completion), is_served(out)
    span = masked(out.completion, counts, -1).max(axis=-1)
    measures = {
        **_latency_statistics(out.latency, counts, "s"),
        **_weighted(inst, out, counts, "s"),
        "mean_ttft_s": mean(out.ttft, counts),
        "p99_ttft_s": percentiles(out.ttft, counts, 99)[0],
        "makespan_s": xp.where(counts.any(axis=-1), span, xp.nan),
        "throughput_tokens_per_s": per(_total_output(inst), span),
    }
    if deadline_s is not None:
        is_within = (counts & (out.latency <= deadline_s)).astype(xp.float64)
        share = mean(is_within, inst.is_real)
        measures["share_within_deadline"] = xp.where(counts.any(axis=-1), share, xp.nan)
    return measures


def _total_output(inst: Instance) -> Any:
    xp = namespace(inst.output_tokens)
    return masked(inst.output_tokens, inst.is_real, 0).sum(axis=-1, dtype=xp.int64)


def _refuse_empty(has_requests: Any) -> None:
    if is_traced(has_requests) or (position := first_true(~np.asarray(has_requests))) is None:
        return
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
    if not (is_traced(deadline_s) or (math.isfinite(deadline_s) and deadline_s > 0)):
        raise InputError("deadline_s", deadline_s, "expected a finite number of seconds > 0")
