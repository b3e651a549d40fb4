"""Events of Chromium's trace format: tracks, slices, counters, and the file that holds them."""

from __future__ import annotations

import heapq
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxsched._lib.writing import write_whole

Tracks = Literal["requests", "slots"]
Event = dict[str, Any]

REQUESTS, MEMORY = 1, 2  # the processes of the trace


def tracks_of(
    tracks: Tracks, requests: np.ndarray, begin: np.ndarray, end: np.ndarray, memory: str
) -> tuple[list[int], list[Event]]:
    """Place requests on tracks, and name these and the processes.

    Args:
      tracks: a track for each request, or for each slot.
      requests: numbers of the requests.
      begin: when each takes its track.
      end: when it gives it back.
      memory: name of the process that has the counters.

    Returns:
      The track of each request, and the events.
    """
    if tracks == "requests":
        track = np.arange(len(requests))
        names = [f"request {request}" for request in requests]
    else:
        track = _slots(begin, end)
        names = [f"slot {slot}" for slot in range(track.max(initial=-1) + 1)]
    events = [
        _metadata("process_name", REQUESTS, 0, name="requests"),
        _metadata("process_name", MEMORY, 0, name=memory),
    ]
    for tid, name in enumerate(names):
        events.append(_metadata("thread_name", REQUESTS, tid, name=name))
        events.append(_metadata("thread_sort_index", REQUESTS, tid, sort_index=tid))
    return track.tolist(), events


def write_trace(path: str | os.PathLike[str], events: list[Event], **other: Any) -> None:
    """Write events to a file, whole or not at all.

    Args:
      path: the file.
      events: of microseconds.
      other: what else is to be known of the trace.
    """
    trace = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}
    write_whole(Path(path), lambda partial: partial.write_text(json.dumps(trace)))


def _slots(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Find the first slot that is free for each request, those that start first going first."""
    slot = np.zeros(len(start), np.int64)
    free: list[int] = []
    busy: list[tuple[float, int]] = []  # end and slot
    for request in np.argsort(start, kind="stable"):
        while busy and busy[0][0] <= start[request]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        slot[request] = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (float(end[request]), int(slot[request])))
    return slot


def slice_of(name: str, tid: int, begin: float, end: float, told: dict[str, Any]) -> Event:
    """Fill a track for some time."""
    return {
        "name": name,
        "cat": "request",
        "ph": "X",
        "pid": REQUESTS,
        "tid": tid,
        "ts": begin,
        "dur": end - begin,
        "args": told,
    }


def counter(name: str, begin: float, **values: float) -> Event:
    """Set the values that a counter has from some time on."""
    return {"name": name, "ph": "C", "pid": MEMORY, "ts": begin, "args": values}


def instant(name: str, tid: int, at: float) -> Event:
    """Mark a moment on a track."""
    return {"name": name, "ph": "i", "s": "t", "pid": REQUESTS, "tid": tid, "ts": at}


def _metadata(name: str, pid: int, tid: int, /, **told: Any) -> Event:
    return {"name": name, "ph": "M", "pid": pid, "tid": tid, "args": told}
