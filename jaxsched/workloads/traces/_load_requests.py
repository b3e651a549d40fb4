"""Streams made of recorded requests."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.model.requests import Requests
from jaxsched.workloads.traces._order import Falls
from jaxsched.workloads.traces._recording import Recording, gathered
from jaxsched.workloads.traces._runnable import Runnable, picked
from jaxsched.workloads.traces._sample import (
    generator_of,
    in_a_row,
    require_sample,
    sampled,
)

_ARRIVALS = 1  # what else a key is for
_LEAST_RATE = 1e-9  # requests a second: one in 30 years


def load_requests(
    path: str | os.PathLike[str],
    *,
    rate: float | None = None,
    num_requests: int | None = None,
    batch: int | None = None,
    key: jax.Array | None = None,
    sort: bool = False,
    drop_invalid: bool = False,
    columns: Mapping[str, str] | str | None = None,
    since: int | str | None = None,
    until: int | str | None = None,
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
      path: a file in any form that :func:`read` takes.
      rate: mean requests a second of each stream; None keeps the recorded times.
      num_requests: rows in each stream, n; None for all of them.
      batch: number of sampled streams B, or None for one without a leading axis.
      key: a jax random key, for samples and for times that the trace lacks; equal keys give
        equal streams.
      sort: order rows by arrival, equal ones as in the file, where the file does not.
      drop_invalid: leave out rows that cannot run (a prompt or output below 1 token, no time of
        arrival where others have one, such as a later turn of a session) with a
        :class:`TraceWarning` that counts them and names the first, instead of raising. Rows that
        cannot be read always raise.
      columns: which columns hold what, and the unit of times, as in :func:`read`.
      since: the first row to take, or a time, as in :func:`read`.
      until: where to stop, likewise.

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
    _require_rate(rate)
    recording = Recording(path, columns, since, until)
    has_times = recording.has_times
    if not has_times and (rate is None or key is None):
        raise ValueError(
            f"{path}: has no arrival times; give both rate=.. in requests a second and key=.. for "
            "arrivals of a Poisson process"
        )
    require_sample(num_requests, batch, key, is_keyed=not has_times)
    runnable = Runnable(recording, None, with_times=True)
    if num_requests is None:
        arrived_at, *lengths = _whole(recording, runnable, sort)
        runnable.conclude(drop_invalid)
    else:
        num_rows, order = _survey(recording, runnable, sort)
        runnable.conclude(drop_invalid)
        rows = sampled(path, num_rows, num_requests, batch, key, in_a_row)
        rows = rows if order is None else order[rows]
        taken, place = np.unique(rows, return_inverse=True)
        trace = picked(runnable.chunks(), taken).at(place.reshape(rows.shape))
        arrived_at, *lengths = trace.arrived_at, trace.prompt_tokens, trace.output_tokens
    if arrived_at is None:
        arrived_at = _poisson(rate, key, lengths[0].shape)
    else:
        arrived_at -= arrived_at[..., :1].copy()
        if rate is not None:
            _rescale(path, arrived_at, rate)
    return Requests.from_arrays(arrived_at, *lengths)


def _require_rate(rate: Any) -> None:
    """Raise unless a rate is None or a number whose gaps are seconds of some calendar."""
    if rate is None:
        return
    try:
        number = math.nan if isinstance(rate, (bool, np.bool_, str, bytes)) else float(rate)
    except (TypeError, ValueError):
        number = math.nan
    if not _LEAST_RATE <= number < math.inf:
        least = f", at least {_LEAST_RATE}" if 0 < number < _LEAST_RATE else ""
        expectation = f"expected a finite number of requests a second > 0{least}"
        raise InputError("rate", rate, expectation)


def _whole(recording: Recording, runnable: Runnable, sort: bool) -> list[Any]:
    """Arrival, or None, and lengths of all rows, ordered by arrival."""
    falls = Falls(recording, sort)
    dtypes: dict[str, Any] = {"prompt_tokens": np.int32, "output_tokens": np.int32}
    if recording.has_times:
        dtypes = {"arrived_at": np.float64} | dtypes
    found = gathered(falls.watched(runnable.chunks()), **dtypes)
    if falls.is_fallen:
        order = np.argsort(found[0], kind="stable")
        found = [each[order] for each in found]
    return found if recording.has_times else [None, *found]


def _survey(recording: Recording, runnable: Runnable, sort: bool) -> tuple[int, np.ndarray | None]:
    """Count the rows; and say in what order they arrive, None where as in the file."""
    falls = Falls(recording, sort)
    rows = falls.watched(runnable.chunks())
    if not (sort and recording.has_times):
        return sum(len(trace.line) for trace in rows), None
    (arrived_at,) = gathered(rows, arrived_at=np.float64)
    order = np.argsort(arrived_at, kind="stable") if falls.is_fallen else None
    return len(arrived_at), order


def _rescale(path: object, arrival_s: np.ndarray, rate: float) -> None:
    """Stretch streams that begin at 0 to a rate, in place."""
    n, span_s = arrival_s.shape[-1], arrival_s[..., -1:]
    if not (span_s > 0).all():
        raise ValueError(
            f"{path}: the {n} requests of a stream arrive at the same second, which cannot be "
            "rescaled to a rate; take more requests a stream"
        )
    arrival_s *= (n - 1) / rate / span_s


def _poisson(rate: Any, key: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Arrivals of streams from 0 on, with exponential gaps."""
    gaps_s = generator_of(key, _ARRIVALS).exponential(1 / rate, shape)
    gaps_s[..., 0] = 0
    return gaps_s.cumsum(axis=-1)
