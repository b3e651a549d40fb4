"""A run of a server as events of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsched._lib.errors import wrong_shape
from jaxsched.metrics.paired import paired
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.service.log import ServiceLog
from jaxsched.show._service_curves import curves_of_log, curves_of_outcome
from jaxsched.show._trace_events import Event, Tracks, counter, instant, slice_of, tracks_of

_MICROSECONDS = 1e6
_PHASES = ("queued", "prefill", "decode")


def service_events(
    reqs: Requests, out: Outcome, log: Mapping[str, Any] | None, tracks: Tracks
) -> list[Event]:
    """Slices of requests that were not refused, counters, and evictions where a log tells."""
    reqs, out = paired(reqs, out)
    if out.completion.ndim != 1:
        raise wrong_shape(
            "the outcome", out.completion.shape, "expected one stream, such as out[0]"
        )
    requests = np.flatnonzero(reqs.is_real & (out.status != Status.REFUSED))
    times = np.stack([out.arrival, out.first_scheduled, out.first_token, out.completion], axis=-1)
    times = times[requests]
    leaves = np.where(np.isnan(times[:, -1]), np.inf, times[:, -1])
    track, events = tracks_of(tracks, requests, times[:, 0], leaves, "server")
    for request, tid, moments in zip(requests.tolist(), track, times.tolist(), strict=True):
        told = {
            "request": request,
            "prompt_tokens": int(reqs.prompt_tokens[request]),
            "output_tokens": int(reqs.output_tokens[request]),
            "preemptions": int(out.num_preemptions[request]),
        }
        for phase, begin, end in zip(_PHASES, moments[:-1], moments[1:], strict=True):
            if end > begin:  # nor is either NaN
                events.append(
                    slice_of(phase, tid, _MICROSECONDS * begin, _MICROSECONDS * end, told)
                )
    curves = curves_of_outcome(out) if log is None else curves_of_log(log)
    for at, running, waiting in zip(
        (_MICROSECONDS * curves.at_s).tolist(),
        curves.running.tolist(),
        curves.waiting.tolist(),
        strict=True,
    ):
        events.append(counter("requests", at, running=running, waiting=waiting))
    if log is not None and curves.kv is not None:
        for at, share in zip(curves.at_s.tolist(), curves.kv.tolist(), strict=True):
            events.append(counter("KV cache in use", _MICROSECONDS * at, percent=100 * share))
        events += _evictions(
            ServiceLog.from_columns(log), dict(zip(requests.tolist(), track, strict=True))
        )
    return events


def _evictions(log: ServiceLog, track: Mapping[int, int]) -> list[Event]:
    at = _MICROSECONDS * log.step_clock[log.pre_step]
    return [
        instant("evicted", track[request], moment)
        for request, moment in zip(log.pre_req.tolist(), at.tolist(), strict=True)
    ]
