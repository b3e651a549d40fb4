"""The online oracle under rules that look at the server anew in every step.

In a step in which somebody waits, or in which pass 1 may run out of blocks (fewer are free than
requests run, plus the blocks of a whole budget), the rule gives every request at the server a
number, once the arrivals have joined. A NaN among them ends the stream with status
"nan_priority". The queue is in order of (number, arrival, index). Where the server's ``victim`` is
None, the running request with the largest (number, arrival) is evicted, the first of equals in
running order.

A rule that ``evicts`` also makes room before pass 1. While somebody waits, the first in line w
could not start (no seat, no budget, or ``online_rules.fits`` says no) and some running request has
a larger number than w: the one with the largest (number, arrival), the first of equals in running
order, is pushed out, if pushing out all that have a larger number would let w start. Those pushed
out in a step, and those who stand behind one of them in line, do not start in that step. Others
may: being pushed out is no lack of memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from tests.reference.online import Stream
from tests.reference.online_rules import choose_victim

F = np.float32


class Rule:
    """Numbers of requests at a server; requests are named by their position.

    ``stream`` has ``clock, arrival, prompt, believed, priority, known, computed, running,
    waiting``; no rule may look at ``output``.
    """

    evicts = False

    def begin(self, stream: DynamicStream) -> None:
        """Before anybody has arrived."""

    def arrive(self, stream: DynamicStream, arrived: list[int]) -> None:
        """These have joined the queue."""

    def number(self, stream: DynamicStream, r: int) -> float:
        """Lower goes first."""
        raise NotImplementedError

    def end_step(self, stream: DynamicStream, duration: float) -> None:
        """Tokens have come: ``stream`` has ``admitted, evicted, grants, sampled, ended``."""


class _NoNumber(Exception):
    """A rule returned NaN."""


class DynamicStream(Stream):
    """A stream whose queue a rule orders anew in every step."""

    def __init__(self, rule: Rule, *given):
        super().__init__(*given)
        self.believed = given[6]  # predicted outputs, not yet cut to the model's length
        self.rule, self.numbers, self.pushed = rule, {}, []
        self.waiting = []
        self.sampled: list[int] = []
        self.ended: list[int] = []
        rule.begin(self)

    def run(self, max_steps: int):
        try:
            return super().run(max_steps)
        except _NoNumber:
            self.log.status = "nan_priority"
            self.log.add_totals(self.settings)
            return self.log

    def waited(self, r: int) -> np.float32:
        return F(self.clock - self.arrival[r])

    def generated(self, r: int) -> int:
        return self.known[r] - self.prompt[r]

    # ---- the queue ----

    def _enqueue(self, r: int, *, is_evicted: bool) -> None:
        self.waiting.append(r)

    def _place(self, r: int) -> tuple[float, int]:
        return self.numbers[r], r  # positions ascend with arrivals

    def _head(self) -> int:
        return min(self.waiting, key=self._place)

    def _dequeue(self) -> int:
        r = self._head()
        self.waiting.remove(r)
        return r

    def _note_arrivals(self, arrived: list[int]) -> None:
        if arrived:
            self.rule.arrive(self, arrived)

    # ---- a step ----

    def _begin_step(self) -> None:
        self.pushed, self.sampled, self.ended = [], [], []
        spare = len(self.running) + self.blocks(self.budget)
        if self.waiting or self.free < spare:
            at_server = [*self.running, *self.waiting]
            self.numbers = {r: float(self.rule.number(self, r)) for r in at_server}
            if any(math.isnan(number) for number in self.numbers.values()):
                raise _NoNumber
        if self.rule.evicts:
            self._make_room()

    def _make_room(self) -> None:
        while self.waiting:
            w = self._head()
            worse = [r for r in self.running if self.numbers[r] > self.numbers[w]]
            if self._could_start(w, ()) or not worse or not self._could_start(w, worse):
                return
            worst = max(worse, key=self._badness)
            self._evict(worst)
            self.pushed.append(worst)

    def _could_start(self, w: int, without: Sequence[int]) -> bool:
        settings = self.settings
        free = self.free + sum(self.held[r] for r in without)
        running = len(self.running) - len(without)
        left = self.known[w] - self.computed[w]
        tokens = min(left, self.threshold) if self.threshold else left
        extra = settings.watermark_blocks if running else 0
        blocks = self.blocks(self.computed[w] + min(tokens, self.budget))
        if settings.admission == "prompt":
            blocks = max(blocks, self.blocks(self.known[w]))
        return (
            running < settings.most_running
            and not (self.is_held and left > 1)
            and (settings.enable_chunked_prefill or tokens <= self.budget)
            and blocks + extra <= free
        )

    def _is_short(self) -> bool:
        return len(self.evicted) > len(self.pushed) or self.lacks_blocks

    def _may_start(self, r: int) -> bool:
        return all(self.numbers[r] < self.numbers[out] for out in self.pushed)

    def _choose_victim(self) -> int:
        if self.settings.victim is not None:
            return choose_victim(self)
        return max(self.running, key=self._badness)  # the first of equals

    def _badness(self, r: int) -> tuple[float, float]:
        return self.numbers[r], self.arrival[r]

    # ---- what a step yields ----

    def _sample(self, r: int, end: float) -> None:
        super()._sample(r, end)
        self.sampled.append(r)
        if self.log.out_status[r] == "finished":
            self.ended.append(r)

    def _end_step(self, duration: float) -> None:
        self.rule.end_step(self, duration)


def ordered_by(rule: Rule):
    """The kind of stream that :func:`tests.reference.online.serve` takes."""
    return functools.partial(DynamicStream, rule)
