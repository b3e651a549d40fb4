"""Every metric of a backlog, over its real requests."""

from __future__ import annotations

import math

import numpy as np

from jaxsched._lib.chunks import map_instances
from jaxsched._lib.errors import InputError, first_true, index_text
from jaxsched.metrics.distribution import distribution, mean, percentiles
from jaxsched.metrics.kv import mean_kv_tokens, peak_kv_tokens
from jaxsched.metrics.latency import in_rounds, makespan, of_real, outcome_of, slowdown
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule
from jaxsched.model.verify import require_consistent


def summary(
    inst: Instance,
    sched: Schedule | Outcome,
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
      sched: its schedule, or its :class:`Outcome` in rounds.
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
      >>> metrics = js.metrics.summary(inst, js.Schedule.from_starts(inst, [0, 2]))
      >>> float(metrics["total_latency_rounds"]), float(metrics["mean_slowdown"])
      (8.0, 1.25)
      >>> int(metrics["peak_kv_tokens"]), float(metrics["mean_kv_tokens"])
      (5, 3.8333333333333335)
    """
    if isinstance(sched, Schedule):
        require_consistent(inst, sched)  # here, where positions are those of the caller
    _require_requests(inst)
    if deadline_s is not None:
        _require_deadline_is_usable(clock, deadline_s)

    def block(inst: Instance, sched: Schedule | Outcome) -> dict[str, np.ndarray]:
        measures = _summary_in_rounds(inst, in_rounds(inst, sched))
        if clock is not None:
            out = outcome_of(inst, sched, clock)
            measures |= _summary_in_seconds(inst, out, deadline_s)
        return measures

    return map_instances(block, inst, sched)


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
      >>> statistics = js.metrics.latency_statistics(np.array([2.0, 6.0, np.nan]), "rounds")
      >>> float(statistics["mean_latency_rounds"]), float(statistics["p50_latency_rounds"])
      (4.0, 4.0)
    """
    return {
        f"total_latency_{unit}": np.nansum(values, axis=-1),
        **distribution(f"latency_{unit}", values),
    }


def _summary_in_rounds(inst: Instance, out: Outcome) -> dict[str, np.ndarray]:
    first_token, slow, span = of_real(out, out.ttft), slowdown(inst, out), makespan(inst, out)
    return {
        **latency_statistics(of_real(out, out.latency), "rounds"),
        "mean_ttft_rounds": mean(first_token),
        "p99_ttft_rounds": percentiles(first_token, 99)[0],
        "mean_slowdown": mean(slow),
        "p99_slowdown": percentiles(slow, 99)[0],
        "makespan_rounds": span,
        "peak_kv_tokens": peak_kv_tokens(inst, out),
        "mean_kv_tokens": mean_kv_tokens(inst, out),
        "throughput_tokens_per_round": _total_output(inst) / span,
    }


def _summary_in_seconds(
    inst: Instance, out: Outcome, deadline_s: float | None
) -> dict[str, np.ndarray]:
    latency, first_token = of_real(out, out.latency), of_real(out, out.ttft)
    span = np.nanmax(of_real(out, out.completion), axis=-1)
    measures = {
        **latency_statistics(latency, "s"),
        "mean_ttft_s": mean(first_token),
        "p99_ttft_s": percentiles(first_token, 99)[0],
        "makespan_s": span,
        "throughput_tokens_per_s": _total_output(inst) / span,
    }
    if deadline_s is not None:
        measures["share_within_deadline"] = mean(
            np.where(inst.is_real, latency <= deadline_s, np.nan)
        )
    return measures


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
