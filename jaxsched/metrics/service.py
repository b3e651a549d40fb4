"""What service requests got from a server: latencies, goodput, throughput, memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._lib.chunks import host_chunk_size, map_chunks
from jaxsched._lib.errors import InputError, reject, wrong_shape
from jaxsched.metrics._service_measures import Measures, Targets, counted, latencies, whole_run
from jaxsched.metrics.paired import paired, require_some, spread
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server


def service_summary(
    reqs: Requests,
    out: Outcome,
    *,
    server: Server | None = None,
    ttft_slo_s: Any = None,
    tpot_slo_s: Any = None,
    e2e_slo_s: Any = None,
    window: tuple[float, float] | None = None,
) -> dict[str, np.ndarray]:
    r"""Every service metric of each stream, by the definitions of ``vllm bench serve``.

    Of request :math:`i`, which arrives at :math:`r_i`, is first scheduled at :math:`q_i`, gives
    its first token at :math:`f_i` and its last of :math:`o_i` at :math:`c_i`:

    - ``ttft_s``: time to first token, :math:`f_i - r_i`;
    - ``tpot_s``: time per output token, :math:`(c_i - f_i) / (o_i - 1)`, if :math:`o_i > 1`;
    - ``itl_s``: times between tokens, pooled over all requests;
    - ``e2e_s``: end-to-end latency, :math:`c_i - r_i`;
    - ``queueing_s``: :math:`q_i - r_i`;
    - ``normalized_latency_s``: :math:`(c_i - r_i) / o_i`, seconds a token;
    - ``slowdown``: end-to-end latency over what it would be alone; needs the server.

    Of each there are ``mean_ttft_s``, ``p50_ttft_s``, ``p90_``, ``p95_``, ``p99_`` and
    ``max_ttft_s`` over the requests that completed; NaN where there are none. Percentiles
    interpolate linearly, as numpy's do; those of ``itl_s`` are read from a histogram, within 1%.

    Requests that are not ``is_counted`` are left out of all these, and of what is counted; the
    server worked for them all the same. Counted over the others that arrive in the window:

    - ``num_requests``, ``num_refused``, ``num_unfinished`` (int64);
    - ``duration_s``: from the first arrival to the last completion;
    - ``throughput_requests_per_s``, ``throughput_tokens_per_s`` (output tokens) and
      ``throughput_total_tokens_per_s`` (prompts too), of the requests that completed;
    - ``goodput_requests_per_s``: requests that met every target, over the duration;
    - ``attainment``: their share of all requests; refused and unfinished ones count as missed;
    - ``num_preemptions`` (int64), and ``share_preempted``, the share of requests that were.

    Of the whole run, also if there is a window or a cut; NaN where it did not come to its end:

    - ``num_steps``, ``recomputed_tokens``, ``peak_kv_tokens`` (integers);
    - ``recompute_share``: recomputed tokens over all computed tokens;
    - ``mean_kv_tokens``: tokens cached, averaged over the run;
    - ``peak_kv_share``, ``mean_kv_share``: of the capacity of the server, if given;
    - ``busy_share``: share of the run that the server spent in steps.

    What an outcome has no record of is left out, as are percentiles of ``itl_s`` where not all
    requests count, and goodput and attainment where there is no target.

    Args:
      reqs: the requests, ``[.., n]``; their leading axes are broadcast to those of the outcome.
      out: their outcome in seconds, ``[.., n]``.
      server: what served them, whose ``max_model_len`` may have cut outputs; None for no cut.
      ttft_slo_s: target for the time to first token, one number or one a request; None takes
        the requests' own, if any.
      tpot_slo_s: target for the time per output token, likewise; one output token counts as 0.
      e2e_slo_s: target for the end-to-end latency; None for no target.
      window: ``(t0, t1)`` keeps requests with ``t0 <= arrival < t1``, to cut warm-up and
        cool-down; :func:`jaxsched.workloads.arrivals.cut` does so by shares of the stream.

    Returns:
      One array ``[..]`` a metric, float64 unless said otherwise.

    Raises:
      ValueError: the outcome counts rounds or is of other requests, a target is not above 0, or
        a stream has no request that counts in the window.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.5], [300, 20], [5, 1])
      >>> out = js.Outcome(
      ...     arrival=np.array([0.0, 0.5]), first_scheduled=np.array([0.0, 1.0]),
      ...     first_token=np.array([0.5, 1.5]), completion=np.array([2.5, 1.5]),
      ...     num_preemptions=np.array([0, 0]), status=np.array([0, 0]), is_real=np.array([1, 1]))
      >>> measures = js.metrics.service_summary(reqs, out, ttft_slo_s=0.8)
      >>> [float(measures[name]) for name in ("mean_ttft_s", "mean_tpot_s", "attainment")]
      [0.75, 0.5, 0.5]

    Source:
      vLLM 0.33, ``vllm/benchmarks/serve.py``, 2026. Normalized latency: Yu et al., Orca, OSDI
      2022. Goodput: Zhong et al., DistServe, 2024, arXiv:2401.09670. The histogram is ours.
    """
    reqs, out = paired(reqs, out)
    *leading, n = out.completion.shape
    targets = Targets(
        ttft=_target("ttft_slo_s", ttft_slo_s, reqs.ttft_slo_s, out),
        tpot=_target("tpot_slo_s", tpot_slo_s, reqs.tpot_slo_s, out),
        e2e=_target("e2e_slo_s", e2e_slo_s, None, out),
    )
    counts = reqs.is_real
    if reqs.is_counted is not None:
        counts = counts & reqs.is_counted
    if window is not None:
        counts = counts & _in_window(reqs.arrival_s, window)
    require_some(counts, window)
    has_all = window is None and reqs.is_counted is None
    machine = None if server is None else spread(server, tuple(leading))

    def block(
        reqs: Requests, out: Outcome, counts: np.ndarray, targets: Targets, machine: Server | None
    ) -> Measures:
        return {
            **latencies(reqs, out, counts, machine, has_all=has_all),
            **counted(reqs, out, counts, targets, machine),
            **whole_run(reqs, out, machine),
        }

    num_buckets = 0 if out.itl_histogram is None else out.itl_histogram.shape[-1]
    return map_chunks(
        block,
        reqs,
        out,
        counts,
        targets,
        machine,
        leading=tuple(leading),
        chunk_size=host_chunk_size(n + num_buckets),
    )


def _target(argument: str, given: Any, own: Any, out: Outcome) -> np.ndarray | None:
    if given is None:
        return own
    seconds = np.asarray(given)
    if seconds.dtype.kind not in "iuf" or seconds.shape not in ((), out.is_real.shape):
        raise wrong_shape(
            argument, seconds.shape, f"expected one number, or one a request {out.is_real.shape}"
        )
    reject(argument, seconds, ~(seconds > 0), "expected seconds > 0")
    return seconds if seconds.ndim else np.broadcast_to(seconds, (*out.is_real.shape[:-1], 1))


def _in_window(arrival_s: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    begin, end = window
    if not begin < end:
        raise InputError("window", window, "expected (t0, t1) in seconds with t0 < t1")
    return (arrival_s >= begin) & (arrival_s < end)
