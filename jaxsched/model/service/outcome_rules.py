"""What must hold of an outcome: it says of requests and of the run what the log says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from jaxsched.model.itl import ITL_EDGES_S, itl_buckets
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Status
from jaxsched.model.service.log import ServiceLog
from jaxsched.model.service.replay import ADMIT, EVICT, FINISH, GRANT, Events, Totals
from jaxsched.model.service.step_rules import is_near
from jaxsched.model.service.violations import Violation

_TOLERANCE = 1e-5  # relative, of float32 and of sums over a run


def status_violations(
    out: Outcome, is_real: np.ndarray, is_refused: np.ndarray, is_finished: np.ndarray
) -> Iterator[Violation]:
    """Judge that requests are refused if they could never finish, and OK if they finish."""
    said_refused, said_ok = (out.status == each for each in (Status.REFUSED, Status.OK))
    for wrong, say in (
        (is_refused & ~said_refused, "could never finish, but was not refused"),
        (said_refused & ~is_refused, "was refused, though it could finish alone"),
        (said_ok & ~is_finished, "counts as served, but does not finish in the log"),
        (is_finished & ~said_ok, "finishes in the log, but does not count as served"),
    ):
        for request in np.flatnonzero(is_real & wrong)[:1]:
            yield Violation(-1, int(request), f"request {request} {say}")


def time_violations(
    out: Outcome, is_real: np.ndarray, log: ServiceLog, events: Events, preemption: str
) -> Iterator[Violation]:
    """Judge that each request has the times and the preemptions that the log gives it."""
    n = out.completion.size
    request = events.request
    counts = _token_counts(events, log, n, preemption)
    expected = {
        name: _times(n, request[chosen], times[events.step[chosen]])
        for name, times, chosen in (
            ("first_scheduled", log.step_clock, (events.kind == ADMIT) & (events.evictions == 0)),
            ("first_token", log.step_end, counts & (events.generated == 0)),
            ("completion", log.step_end, events.kind == FINISH),
        )
    }
    expected["num_preemptions"] = np.bincount(log.pre_req, minlength=n)
    for name, values in expected.items():
        yield from _differing(name, getattr(out, name), values, is_real, is_near)
    if out.max_itl is not None:
        whose, gaps = _gaps(events, log, counts)
        longest = np.zeros(n)
        np.maximum.at(longest, whose, gaps)
        yield from _differing("max_itl", out.max_itl, longest, is_real, _is_about)


def run_violations(
    out: Outcome, log: ServiceLog, events: Events, totals: Totals, preemption: str
) -> Iterator[Violation]:
    """Judge that sums over the run are those of the log."""
    seconds = log.step_end - log.step_clock
    lost = np.where((events.kind == EVICT) & (preemption != "swap"), events.computed, 0)
    for name, expected in {
        "num_steps": log.num_steps,
        "recomputed_tokens": lost.sum(),
        "busy": seconds.sum(),
        "peak_kv_tokens": totals.cached.max(initial=0),
        "kv_token_time": np.dot(totals.cached, seconds),
    }.items():
        value = getattr(out, name)
        if value is not None and not _is_about(value, expected):
            say = f"the outcome has {name} {value:.9g}; the log comes to {expected:.9g}"
            yield Violation(-1, -1, say)
    if out.itl_histogram is not None:
        counts = _token_counts(events, log, out.completion.size, preemption)
        _, gaps = _gaps(events, log, counts)
        yield from _histogram_violations(out.itl_histogram, gaps)


def _histogram_violations(histogram: np.ndarray, gaps: np.ndarray) -> Iterator[Violation]:
    """Judge that times between tokens are in their bucket, or in the next for want of digits."""
    exact = np.bincount(itl_buckets(gaps), minlength=ITL_EDGES_S.size - 1)
    if histogram.shape != exact.shape or histogram.sum() != gaps.size:
        say = f"itl_histogram counts {histogram.sum():,} times; the log has {gaps.size:,}"
        yield Violation(-1, -1, say)
        return
    below, until = np.cumsum(exact), np.cumsum(histogram)
    is_off = (until[1:] < below[:-1]) | (until[:-1] > below[1:])
    for bucket in np.flatnonzero(is_off)[:1]:
        yours, ours, edge = until[bucket], below[bucket], ITL_EDGES_S[bucket + 1]
        say = f"itl_histogram has {yours:,} times below {edge:.4g} s; the log has {ours:,}"
        yield Violation(-1, -1, say)


def _token_counts(events: Events, log: ServiceLog, n: int, preemption: str) -> np.ndarray:
    """Whether an event yields a token that is not lost in a later restart."""
    is_sampled = (events.kind == GRANT) & (events.sampled > 0)
    if preemption != "restart":
        return is_sampled
    return is_sampled & (events.evictions == np.bincount(log.pre_req, minlength=n)[events.request])


def _gaps(events: Events, log: ServiceLog, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whose times between tokens there are, and how long they are."""
    request, end = events.request[counts], log.step_end[events.step[counts]]
    is_gap = request[1:] == request[:-1]
    return request[1:][is_gap], np.diff(end)[is_gap]


def _times(n: int, request: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Time of each request, NaN for those that have none."""
    of_all = np.full(n, np.nan)
    of_all[request] = times
    return of_all


def _differing(
    name: str,
    values: np.ndarray,
    expected: np.ndarray,
    is_real: np.ndarray,
    agree: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Iterator[Violation]:
    for request in np.flatnonzero(is_real & ~agree(values, expected))[:1]:
        has, logged = values[request], expected[request]
        say = f"request {request} has {name} {has:.9g}; the log gives {logged:.9g}"
        yield Violation(-1, int(request), say)


def _is_about(value: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.abs(value - expected) <= _TOLERANCE * np.maximum(1e-3, np.abs(expected))
