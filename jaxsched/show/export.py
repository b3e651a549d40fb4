"""Schedules for other programs."""

from __future__ import annotations

import heapq
import json
import os
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from jaxsched import metrics
from jaxsched._lib.errors import choice
from jaxsched._lib.files import write_whole
from jaxsched.metrics.latency import in_rounds
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule, require_ok

Tracks = Literal["requests", "slots"]

_REQUESTS, _MEMORY = 1, 2  # the processes of the trace


def chrome_trace(
    inst: Instance,
    sched: Schedule,
    path: str | os.PathLike[str],
    clock: LinearClock | None = None,
    *,
    tracks: Tracks = "requests",
) -> None:
    """Write one schedule as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open.

    Each request is two slices, ``prefill`` for its first round and ``decode`` for the others
    (none if it has one output token), with its number, lengths, start and completion as
    arguments. The counter ``KV tokens`` changes at every round, and ``KV capacity`` is constant.
    A microsecond of the trace is a round, or with a clock a microsecond.

    Args:
      inst: one instance, ``[n]``.
      sched: its schedule.
      path: the file to write, whole or not at all.
      clock: the length of each round.
      tracks: ``"requests"`` gives every request a track of its own, in the order of the backlog;
        ``"slots"`` as many tracks as requests are active at once, each request on the first
        that is free, which is easier to read for thousands.

    Raises:
      ValueError: there are several instances, the instance was not scheduled, or ``tracks`` is
        unknown.

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
      form; events X, C and M).
    """
    if np.ndim(inst.kv_capacity):
        raise ValueError(
            f"there are {np.size(inst.kv_capacity)} instances; expected one, such as "
            "jax.tree.map(lambda leaf: leaf[0], (inst, sched))"
        )
    choice("tracks", tracks, get_args(Tracks))
    require_ok(sched, "the schedule")
    out = in_rounds(inst, sched)
    held = metrics.kv_profile(inst, out)
    rounds = np.arange(len(held) + 1)
    time = rounds if clock is None else 1e6 * clock.seconds(inst, sched, rounds)
    at: list[float] = time.astype(np.float64).tolist()
    requests = np.flatnonzero(inst.is_real)
    prompt, output = (np.asarray(each) for each in (inst.prompt_tokens, inst.output_tokens))
    start, end = out.first_scheduled[requests], out.completion[requests]
    track = np.arange(len(requests)) if tracks == "requests" else _slots(start, end)
    names = (
        [f"request {request}" for request in requests]
        if tracks == "requests"
        else [f"slot {slot}" for slot in range(track.max() + 1)]
    )
    events: list[dict[str, Any]] = [
        _metadata("process_name", _REQUESTS, 0, name="requests"),
        _metadata("process_name", _MEMORY, 0, name="memory"),
    ]
    for tid, name in enumerate(names):
        events.append(_metadata("thread_name", _REQUESTS, tid, name=name))
        events.append(_metadata("thread_sort_index", _REQUESTS, tid, sort_index=tid))
    for request, tid, begin, finish in zip(
        requests.tolist(), track.tolist(), start.tolist(), end.tolist(), strict=True
    ):
        told = {
            "request": request,
            "prompt_tokens": int(prompt[request]),
            "output_tokens": int(output[request]),
            "start": begin,
            "completion": finish,
        }
        events.append(_slice("prefill", tid, at[begin], at[begin + 1], told))
        if finish > begin + 1:
            events.append(_slice("decode", tid, at[begin + 1], at[finish], told))
    for begin, tokens in zip(at, [*held.tolist(), 0], strict=True):
        events.append(_counter("KV tokens", begin, tokens))
    for begin in (at[0], at[-1]):
        events.append(_counter("KV capacity", begin, int(inst.kv_capacity)))
    trace = {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "kv_capacity": int(inst.kv_capacity),
            "microsecond": "one round" if clock is None else "one microsecond",
        },
    }
    write_whole(Path(path), lambda partial: partial.write_text(json.dumps(trace)))


def _slots(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """First slot that is free for each request, those that start first going first."""
    slot = np.zeros(len(start), np.int64)
    free: list[int] = []
    busy: list[tuple[int, int]] = []  # completion and slot
    for request in np.argsort(start, kind="stable"):
        while busy and busy[0][0] <= start[request]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        slot[request] = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (int(end[request]), int(slot[request])))
    return slot


def _slice(name: str, tid: int, begin: float, end: float, told: dict[str, int]) -> dict[str, Any]:
    return {
        "name": name,
        "cat": "request",
        "ph": "X",
        "pid": _REQUESTS,
        "tid": tid,
        "ts": begin,
        "dur": end - begin,
        "args": told,
    }


def _counter(name: str, begin: float, tokens: int) -> dict[str, Any]:
    return {"name": name, "ph": "C", "pid": _MEMORY, "ts": begin, "args": {"tokens": tokens}}


def _metadata(name: str, pid: int, tid: int, /, **told: Any) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": pid, "tid": tid, "args": told}
