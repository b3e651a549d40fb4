"""Schedules of one small instance: by simple rules, and by trying other orders."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from jaxsched.bounds._time_indexed import Backlog


def best_of_simple_rules(backlog: Backlog) -> np.ndarray:
    """Take the best of five rules (or six), each in strict order and by earliest fit.

    Returns:
      Starts, int64 ``[n]``.
    """
    prompt, output = backlog.prompt, backlog.output
    volume = prompt * output + output * (output + 1) // 2
    keys = [volume, output, prompt + output, prompt, np.arange(output.size)]
    keys += [] if backlog.weight is None else [volume / backlog.weight]
    orders = [np.argsort(key, kind="stable") for key in keys]
    schedules = [place(backlog, order) for place in (_strict, _earliest_fit) for order in orders]
    return min(schedules, key=backlog.weighed)


def improved(backlog: Backlog, starts: np.ndarray, num_moves: int) -> np.ndarray:
    """Move one request at random to another place in the order of starts, if that is no worse."""
    order, random = np.argsort(starts, kind="stable"), np.random.default_rng(0)
    by_order = _earliest_fit(backlog, order)
    for place, other in random.integers(0, order.size, (num_moves, 2)):
        moved = np.insert(np.delete(order, place), other, order[place])
        by_moved = _earliest_fit(backlog, moved)
        if backlog.weighed(by_moved) <= backlog.weighed(by_order):
            order, by_order = moved, by_moved
    return min(starts, by_order, key=backlog.weighed)


class _Memory:
    """Tokens free in each round."""

    def __init__(self, backlog: Backlog):
        self.backlog = backlog
        self.free = np.full(backlog.last_round, backlog.kv_capacity)

    def first_fit(self, request: int, begin: int, end: int | None = None) -> int | None:
        """Find the first start from ``begin`` on, and before ``end``, at which it fits."""
        output = self.backlog.output[request]
        free = self.free[begin : None if end is None else end - 1 + output]
        fits = np.all(sliding_window_view(free, output) >= self._held(request), axis=1)
        return begin + int(fits.argmax()) if fits.any() else None

    def take(self, request: int, start: int) -> None:
        self.free[start : start + self.backlog.output[request]] -= self._held(request)

    def _held(self, request: int) -> np.ndarray:
        return self.backlog.prompt[request] + np.arange(1, self.backlog.output[request] + 1)


def _earliest_fit(backlog: Backlog, order: np.ndarray) -> np.ndarray:
    """Place requests in order, each at the first round from its release at which it fits."""
    memory, starts = _Memory(backlog), np.empty_like(backlog.output)
    for request in order.tolist():
        start = memory.first_fit(request, int(backlog.release[request]))
        assert start is not None  # in turn they all fit
        memory.take(request, start)
        starts[request] = start
    return starts


def _strict(backlog: Backlog, order: np.ndarray) -> np.ndarray:
    """Start whom a server would: of those released the first in order, or nobody yet."""
    memory, starts = _Memory(backlog), np.empty_like(backlog.output)
    waiting, now = order.tolist(), 0
    while waiting:
        first = next((each for each in waiting if backlog.release[each] <= now), None)
        if first is None or memory.first_fit(first, now, now + 1) is None:
            now += 1
            continue
        starts[first] = now
        memory.take(first, now)
        waiting.remove(first)
    return starts
