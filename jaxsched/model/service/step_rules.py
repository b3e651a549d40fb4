"""What must hold of each step of a recorded run: its limits, its counts, its time."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from jaxsched.model.clock import LinearClock
from jaxsched.model.server import Server
from jaxsched.model.service.log import ServiceLog
from jaxsched.model.service.replay import Totals
from jaxsched.model.service.violations import Violation, first_of

_TOLERANCE = 1e-9  # relative, and below a second absolute
_ONE_SECOND = LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0)


def limit_violations(totals: Totals, server: Server) -> Iterator[Violation]:
    """Judge that no step computes, runs or holds more than the server allows, nor nothing."""
    usable = int(server.kv_capacity) // int(server.block_size)
    limits = (
        (
            "computes",
            totals.granted,
            "tokens",
            "max_num_batched_tokens",
            server.max_num_batched_tokens,
        ),
        ("runs", totals.running, "requests", "max_num_seqs", server.max_num_seqs),
        ("holds", totals.held, "blocks", "kv_capacity // block_size", usable),
    )
    step = np.arange(totals.granted.size)
    for verb, used, what, limit, most in limits:
        if most is None:
            continue
        yield from first_of(
            used > int(most),
            step,
            -1,
            lambda at, verb=verb, used=used, what=what, limit=limit, most=most: (
                f"step {at} {verb} {used[at]:,} {what}; {limit} is {int(most):,}"
            ),
        )
    is_idle = (totals.granted == 0) & (totals.evicted == 0)
    yield from first_of(is_idle, step, -1, lambda at: f"step {at} computes no token")


def count_violations(log: ServiceLog, totals: Totals, server: Server) -> Iterator[Violation]:
    """Judge that columns of steps say what grants, evictions, admissions and finishes add up to."""
    usable = int(server.kv_capacity) // int(server.block_size)
    left = np.cumsum(totals.finished) - totals.finished
    expected = {
        "step_arrived": np.diff(totals.arrived, prepend=0),
        "step_P": totals.prefilled,
        "step_B": totals.decoding,
        "step_KV": totals.read,
        "step_free_mid": usable - totals.held,
        "step_free_end": usable - totals.held_after,
        "step_running": totals.running,
        "step_waiting": totals.arrived - totals.running - left,
    }
    step = np.arange(totals.granted.size)
    for name, values in expected.items():
        logged = getattr(log, name)
        yield from first_of(
            logged != values,
            step,
            -1,
            lambda at, name=name, values=values, logged=logged: (
                f"step {at} has {name} {logged[at]:,}; its events come to {values[at]:,}"
            ),
        )


def time_violations(
    log: ServiceLog, totals: Totals, server: Server, arrival: np.ndarray
) -> Iterator[Violation]:
    """Judge that steps follow each other, wait only if nothing is left, and take their time.

    Args:
      log: the record.
      totals: what its events come to.
      server: what served.
      arrival: when requests that are not refused arrive, ascending seconds.
    """
    step = np.arange(log.num_steps)
    ends = np.append(0.0, log.step_end)[:-1]
    done = np.cumsum(totals.finished) - totals.finished
    has_work = np.searchsorted(arrival, ends, side="right") > done
    # An error of the log may leave more done than there are arrivals; other rules tell it.
    next_arrival = np.append(arrival, np.inf)[np.minimum(done, arrival.size)]
    begin = np.where(has_work, ends, np.maximum(ends, next_arrival))
    yield from first_of(
        ~is_near(log.step_clock, begin),
        step,
        -1,
        lambda at: f"step {at} begins at {log.step_clock[at]:.9g} s; expected {begin[at]:.9g} s",
    )
    end = log.step_clock + duration_s(totals, server)
    yield from first_of(
        ~is_near(log.step_end, end),
        step,
        -1,
        lambda at: f"step {at} ends at {log.step_end[at]:.9g} s; its work ends at {end[at]:.9g} s",
    )


def duration_s(totals: Totals, server: Server) -> np.ndarray:
    """Seconds that the work of each step takes, by the server's clock."""
    clock = _ONE_SECOND if server.clock is None else server.clock
    a, b, c, d, e = (np.asarray(each, np.float64) for each in jax.tree.leaves(clock))
    milliseconds = a + b * totals.prefilled + c * totals.decoding
    milliseconds = milliseconds + d * totals.read + e * totals.squared
    return milliseconds / 1000 + float(server.swap_s_per_token) * totals.swapped


def is_near(seconds: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether times agree to nine digits, or are both NaN."""
    with np.errstate(invalid="ignore"):
        near = np.abs(seconds - expected) <= _TOLERANCE * np.maximum(1.0, np.abs(expected))
    return near | (np.isnan(seconds) & np.isnan(expected)) | (seconds == expected)
