"""Schedules and runs for other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from jaxsched import metrics
from jaxsched._lib.errors import InputError, choice
from jaxsched.metrics.latency import in_rounds
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Schedule, require_ok
from jaxsched.show._service_events import service_events
from jaxsched.show._trace_events import Event, Tracks, counter, slice_of, tracks_of, write_trace


def chrome_trace(
    inst: Instance | Requests,
    sched: Schedule | Outcome,
    path: str | os.PathLike[str],
    clock: LinearClock | None = None,
    *,
    log: Mapping[str, Any] | None = None,
    tracks: Tracks = "requests",
) -> None:
    """Write one schedule or run as a trace that Perfetto (ui.perfetto.dev) and Chrome open.

    Each request of a schedule is two slices, ``prefill`` for its first round and ``decode`` for
    the others (none if it has one output token), with its number, lengths, start and completion
    as arguments. The counter ``KV tokens`` changes at every round, and ``KV capacity`` is
    constant. A microsecond of the trace is a round, or with a clock a microsecond.

    Requests at a server are up to three slices: ``queued`` until they are first scheduled,
    ``prefill`` until their first token, and ``decode``. The counter ``requests`` tells how many
    run and wait. From a log it is exact, ``KV cache in use`` tells the share of blocks held, and
    evictions are marked. Without one, an evicted request counts as running.

    Args:
      inst: one instance, or the requests of one stream, ``[n]``.
      sched: its schedule, or the outcome of the requests in seconds.
      path: the file to write, whole or not at all.
      clock: the length of each round of a schedule.
      log: the recorded run of a stream, see :func:`jaxsched.verify_service`.
      tracks: ``"requests"`` gives every request a track of its own, in the order given;
        ``"slots"`` as many tracks as requests are there at once, each request on the first
        that is free, which is easier to read for thousands.

    Raises:
      ValueError: there are several instances or streams, the instance was not scheduled, the
        outcome is of other requests, ``tracks`` is unknown, or an argument goes with the other
        form.

    Example:
      >>> import json, pathlib, tempfile
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "trace.json"
      ...     js.export.chrome_trace(inst, js.Schedule.from_starts(inst, [0, 2]), path)
      ...     events = json.loads(path.read_text())["traceEvents"]
      >>> [(e["name"], e["tid"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
      [('prefill', 0, 0.0, 1.0), ('decode', 0, 1.0, 1.0), ('prefill', 1, 2.0, 1.0), ...]

    Source:
      The layout of slots is ours. The format is the Trace Event Format of Chromium (JSON object
      form; events X, C, M and i).
    """
    choice("tracks", tracks, get_args(Tracks))
    if isinstance(inst, Requests) and isinstance(sched, Outcome):
        if clock is not None:
            raise InputError("clock", clock, "leave it out; an outcome has its seconds")
        write_trace(path, service_events(inst, sched, log, tracks), microsecond="one microsecond")
        return
    if isinstance(inst, Requests) or isinstance(sched, Outcome):
        expected = "expected an instance and its schedule, or requests and their outcome"
        raise InputError("sched", sched, expected)
    if log is not None:
        raise InputError("log", "", "leave it out", finding="tells of a run, not of a schedule")
    write_trace(
        path,
        _schedule_events(inst, sched, clock, tracks),
        kv_capacity=int(inst.kv_capacity),
        microsecond="one round" if clock is None else "one microsecond",
    )


def _schedule_events(
    inst: Instance, sched: Schedule, clock: LinearClock | None, tracks: Tracks
) -> list[Event]:
    if np.ndim(inst.kv_capacity):
        raise ValueError(
            f"there are {np.size(inst.kv_capacity)} instances; expected one, such as "
            "jax.tree.map(lambda leaf: leaf[0], (inst, sched))"
        )
    require_ok(sched, "the schedule")
    out = in_rounds(inst, sched)
    held = metrics.kv_profile(inst, out)
    rounds = np.arange(len(held) + 1)
    time = rounds if clock is None else 1e6 * clock.seconds(inst, sched, rounds)
    at: list[float] = time.astype(np.float64).tolist()
    requests = np.flatnonzero(inst.is_real)
    prompt, output = (np.asarray(each) for each in (inst.prompt_tokens, inst.output_tokens))
    start, end = out.first_scheduled[requests], out.completion[requests]
    track, events = tracks_of(tracks, requests, start, end, "memory")
    for request, tid, begin, finish in zip(
        requests.tolist(), track, start.tolist(), end.tolist(), strict=True
    ):
        told = {
            "request": request,
            "prompt_tokens": int(prompt[request]),
            "output_tokens": int(output[request]),
            "start": begin,
            "completion": finish,
        }
        events.append(slice_of("prefill", tid, at[begin], at[begin + 1], told))
        if finish > begin + 1:
            events.append(slice_of("decode", tid, at[begin + 1], at[finish], told))
    for begin, tokens in zip(at, [*held.tolist(), 0], strict=True):
        events.append(counter("KV tokens", begin, tokens=tokens))
    for begin in (at[0], at[-1]):
        events.append(counter("KV capacity", begin, tokens=int(inst.kv_capacity)))
    return events
