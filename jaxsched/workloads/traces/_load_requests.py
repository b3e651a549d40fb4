"""Streams made of recorded requests."""

from __future__ import annotations

import math
import os
from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.model.requests import Requests
from jaxsched.workloads.traces._read import Trace, read
from jaxsched.workloads.traces._runnable import runnable_rows
from jaxsched.workloads.traces._sample import generator_of, in_a_row, sampled

_ARRIVALS = 1  # what else a key is for


class _OutOfOrder(InputError):
    """A row arrives before the one above, and ``sort`` is False."""

    def __init__(self, finding: str):
        super().__init__("sort", False, "", finding=finding)
        self.args = (finding,)  # to be pickled by

    def about(self, name: str) -> str:
        """Say so, and which argument orders them."""
        return f"{self.finding}; {name} orders rows by arrival"

    def __str__(self) -> str:
        return self.about("sort=True")


def load_requests(
    path: str | os.PathLike[str],
    *,
    rate: float | None = None,
    num_requests: int | None = None,
    batch: int | None = None,
    key: jax.Array | None = None,
    sort: bool = False,
    drop_invalid: bool = False,
) -> Requests:
    r"""Make streams of the requests in a trace file, with their arrival times.

    Without ``num_requests`` every row is taken. With it, each stream is that many consecutive
    rows from a random place on, so that bursts stay as recorded. The first request of a stream
    arrives at second 0.

    With ``rate`` the time of each stream is stretched or shortened so that its n requests arrive
    within ``(n - 1) / rate`` seconds. A trace without times needs both ``rate`` and ``key``: its
    requests then arrive as a Poisson process, with independent exponential gaps of mean
    ``1 / rate``, which are not rescaled.

    Args:
      path: a file in one of the formats of :func:`read`, plain or gzip.
      rate: mean requests a second of each stream; None keeps the recorded times.
      num_requests: rows in each stream, n; None for all of them.
      batch: number of sampled streams B, or None for one without a leading axis.
      key: a jax random key, for samples and for times that the trace lacks; equal keys give
        equal streams.
      sort: order rows by arrival, equal ones as in the file, where the file does not.
      drop_invalid: leave out rows that cannot run (a prompt or output below 1 token) with a
        :class:`TraceWarning` that counts them and names the first, instead of raising. Rows that
        cannot be read always raise.

    Returns:
      The requests ``[n]`` or ``[B, n]``.

    Raises:
      ValueError: the file cannot be read (see :func:`read`), it has no times and there is no
        rate and key, a row arrives before the one above and ``sort`` is False, a row cannot run
        and ``drop_invalid`` is False, a stream is too short for a rate, more rows are asked for
        than there are, or ``num_requests``, ``batch`` and ``key`` do not go together.
      OSError: the file cannot be opened.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "trace.csv")
      ...     _ = file.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n"
      ...                         "7.5,300,40\n8,20,100\n9.5,50,10\n")
      ...     recorded = js.traces.load_requests(file)
      ...     faster = js.traces.load_requests(file, rate=4.0)
      >>> recorded.arrival_s.tolist(), faster.arrival_s.tolist()
      ([0.0, 0.5, 2.0], [0.0, 0.125, 0.5])
    """
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError("rate", rate, "expected a finite number of requests a second > 0")
    trace = read(path)
    has_times = trace.arrived_at is not None
    if not has_times and (rate is None or key is None):
        raise ValueError(
            f"{path}: has no arrival times; give both rate=.. in requests a second and key=.. for "
            "arrivals of a Poisson process"
        )
    runnable = runnable_rows(path, trace, None, drop_invalid)
    if has_times:
        runnable = _in_order(path, trace, runnable, sort)
    is_whole = not has_times and num_requests is None and batch is None  # the key is for times
    sample_key = None if is_whole else key
    rows = runnable[sampled(path, len(runnable), num_requests, batch, sample_key, in_a_row)]
    arrival_s = _recorded(path, trace, rows, rate) if has_times else _poisson(rate, key, rows.shape)
    return Requests.from_arrays(arrival_s, trace.prompt_tokens[rows], trace.output_tokens[rows])


def _in_order(path: object, trace: Trace, rows: np.ndarray, sort: bool) -> np.ndarray:
    """Rows by arrival; the file may give them otherwise only with ``sort``."""
    arrived_at = _times(trace)[rows]
    falls = np.flatnonzero(np.diff(arrived_at) < 0)
    if not falls.size:
        return rows
    if sort:
        return rows[np.argsort(arrived_at, kind="stable")]
    at = falls[0]
    raise _OutOfOrder(
        f"{path}: line {trace.line[rows[at + 1]]}: arrives at {arrived_at[at + 1]:.9g} s, before "
        f"line {trace.line[rows[at]]} at {arrived_at[at]:.9g} s"
    )


def _recorded(path: object, trace: Trace, rows: np.ndarray, rate: float | None) -> np.ndarray:
    """Arrivals of streams from 0 on, as they were or at a rate."""
    arrived_at = _times(trace)[rows]
    arrival_s = arrived_at - arrived_at[..., :1]
    if rate is None:
        return arrival_s
    n, span_s = rows.shape[-1], arrival_s[..., -1:]
    if not (span_s > 0).all():
        first = trace.line[rows[..., 0].ravel()[np.argmin(span_s > 0)]]
        raise ValueError(
            f"{path}: the {n} requests from line {first} on arrive at the same second, which "
            "cannot be rescaled to a rate; take more requests a stream"
        )
    return arrival_s * ((n - 1) / rate / span_s)


def _times(trace: Trace) -> np.ndarray:
    assert trace.arrived_at is not None
    return trace.arrived_at


def _poisson(rate: Any, key: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Arrivals of streams from 0 on, with exponential gaps."""
    gaps_s = generator_of(key, _ARRIVALS).exponential(1 / rate, shape)
    gaps_s[..., 0] = 0
    return gaps_s.cumsum(axis=-1)
