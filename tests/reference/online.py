"""The online engine, one step after another: the oracle of ``serve``.

Rules of vLLM's v1 scheduler (prefix caching, speculation and asynchronous scheduling off), and
options beyond it. Plain Python on ints and lists; it shares no code with the package.

**State of a request.** ``known``: prompt and generated tokens. ``computed``: tokens whose keys and
values are in the cache. ``held``: blocks owned. ``filling``: true from its first admission, and
again from each eviction that throws its cache away, until the step that samples a token; a
running request that is not filling decodes.

**Refused on arrival** is a request that could never finish alone. With
``output = min(output, max_model_len - prompt)``: ``prompt >= max_model_len``, or
``ceil((prompt + output - 1) / block_size)`` blocks are not usable, or, without chunked prefill,
``prompt + output - 1`` tokens do not fit the budget. Predictions are cut by ``max_model_len`` in
the same way (and are at least 1).

**A step.** Requests with ``arrival <= clock`` join the queue; when nothing runs or waits, the clock
first jumps to the next arrival. Pass 1 serves the running in order of admission, pass 2 admits.
The step ends at ``clock + (a + b P + c B + d KV + e A + swap_s_per_token S)``, added from left to
right in float64; ``A`` sums ``chunk (computed + chunk / 2)`` over the chunks that ``P`` sums.
A step that neither grants a token nor evicts anybody ends the stream, status "stalled"; it is not
logged. Work left after ``max_steps`` steps is status "step_limit". A NaN among the priorities or
victim ranks is status "nan_priority", with no steps.

**Options beyond vLLM.**

``admission`` and ``victim``: see ``online_rules``.

``preemption``: what happens to a victim. Its blocks are free at once, tokens granted to it in this
step return to the budget, and it rejoins the queue: at its front (fcfs) or by its key (priority).
  "recompute": ``computed = 0``; generated tokens are kept and computed again.
  "swap": ``computed`` is kept on the host. The request returns with the blocks of its computed
  tokens and of its next chunk. ``S`` is the computed tokens of those swapped out in this step plus
  those of the ones swapped in (``computed`` before the step).
  "restart": ``computed = 0`` and the generated tokens are lost. First token and token counts are
  of the run that completes; the first admission stays the first.
  "never": a running request without blocks gets nothing in this step, and pass 1 goes on with the
  next. As after an eviction, nobody is admitted in such a step.

``prefill_first``: pass 1 first serves only those that are filling, and pass 2 admits. If that
grants any token, the step is over (a prefill step). Else pass 1 serves those that decode (a decode
step) with the whole budget, and nobody is admitted. A decoding request that is swapped in counts as
a prompt here.

``prefill_schedule_interval`` N is vLLM's. A step is held if N > 1, somebody decodes, the engine is
not saturated, and ``executed + 1 - last_prefill < N``. Then pass 1 skips those that are filling,
and pass 2 stops at a head with more than one token to compute. ``executed`` counts steps with
tokens. ``last_prefill`` (first -N) is its value at the last step that served a running request that
was filling, or admitted one with more than one token to compute. Saturated: somebody still waited
after the last pass 2 of a step that was not held.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence

from tests.reference.online_rules import choose_victim, fits
from tests.reference.online_settings import Clock, Log, Settings, linear


def serve(
    arrival_s: Sequence[float],
    prompt: Sequence[int],
    output: Sequence[int],
    settings: Settings,
    clock: Clock,
    *,
    priority: Sequence[float] | None = None,
    predicted: Sequence[int] | None = None,
    victim_rank: Sequence[float] | None = None,
    max_steps: int = 10_000,
    kind: type[Stream] | Callable[..., Stream] | None = None,
) -> Log:
    """Serve one stream.

    Args:
      arrival_s: seconds, ascending; requests are named by their position.
      prompt, output: tokens, each at least 1.
      settings: of the server.
      clock: a, b, c, d, e in seconds, or a function of P, B, KV and A that returns seconds.
      priority: lower first, for policy "priority"; all 0 by default.
      predicted: output tokens that admission and victims believe in; the true ones by default.
      victim_rank: for victim "rule", the largest first; all 0 by default.
      max_steps: most steps.
      kind: another kind of stream, such as one ordered by a dynamic rule.
    """
    n = len(prompt)
    if any(later < earlier for earlier, later in itertools.pairwise(arrival_s)):
        raise ValueError("arrival_s does not ascend")
    stream = (kind or Stream)(
        [float(t) for t in arrival_s],
        [int(s) for s in prompt],
        [int(o) for o in output],
        settings,
        clock,
        [0.0] * n if priority is None else [float(p) for p in priority],
        [int(o) for o in (output if predicted is None else predicted)],
        [0.0] * n if victim_rank is None else [float(v) for v in victim_rank],
    )
    return stream.run(max_steps)


class Stream:
    """One stream on one server; what happens to it is in ``log``."""

    def __init__(self, arrival, prompt, output, settings, clock, priority, predicted, rank):
        room = [settings.max_model_len - s for s in prompt]
        self.settings = settings
        self.duration = clock if callable(clock) else linear(*clock)
        self.arrival, self.prompt, self.priority, self.rank = arrival, prompt, priority, rank
        self.output = [min(o, k) for o, k in zip(output, room, strict=True)]
        self.predicted = [max(min(o, k), 1) for o, k in zip(predicted, room, strict=True)]

        n = len(prompt)
        self.known = list(prompt)
        self.computed, self.held = [0] * n, [0] * n
        self.filling = [True] * n
        self.running: list[int] = []
        self.waiting: deque[int] | list = deque() if settings.policy == "fcfs" else []
        self.free = settings.usable_blocks
        self.clock, self.step = 0.0, 0
        # For prefill_schedule_interval.
        self.executed, self.last_prefill = 0, -settings.prefill_schedule_interval
        self.is_saturated = False

        refused = [self._can_never_finish(r) for r in range(n)]
        self.to_come = deque(r for r in range(n) if not refused[r])
        self.log = Log.before_the_first_step(refused)

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.settings.block_size)

    def remaining(self, r: int) -> int:
        """Tokens r is believed to generate yet, at least 1."""
        return max(self.prompt[r] + self.predicted[r] - self.known[r], 1)

    def _can_never_finish(self, r: int) -> bool:
        settings = self.settings
        most = self.prompt[r] + self.output[r] - 1  # the last token is never stored
        return (
            self.output[r] < 1
            or self.blocks(most) > settings.usable_blocks
            or (not settings.enable_chunked_prefill and most > settings.max_num_batched_tokens)
        )

    # ---- the loop ----

    def run(self, max_steps: int) -> Log:
        log = self.log
        if any(math.isnan(x) for x in (*self.priority, *self.rank)):
            log.status = "nan_priority"
            return log
        while self.to_come or self.waiting or self.running:
            if self.step == max_steps:
                log.status = "step_limit"
                break
            arrived = self._arrivals()
            self._schedule()
            if not self.grants and not self.evicted:
                log.status = "stalled"
                break
            self._finish_step(arrived)
        log.add_totals(self.settings)
        return log

    def _arrivals(self) -> int:
        if not (self.running or self.waiting):
            self.clock = max(self.clock, self.arrival[self.to_come[0]])
        arrived = []
        while self.to_come and self.arrival[self.to_come[0]] <= self.clock:
            self._enqueue(self.to_come[0], is_evicted=False)
            arrived.append(self.to_come.popleft())
        self._note_arrivals(arrived)
        return len(arrived)

    # ---- the waiting queue ----

    def _enqueue(self, r: int, *, is_evicted: bool) -> None:
        if self.settings.policy == "priority":
            heapq.heappush(self.waiting, (self.priority[r], self.arrival[r], r))
        elif is_evicted:
            self.waiting.appendleft(r)
        else:
            self.waiting.append(r)

    def _head(self) -> int:
        return self.waiting[0][2] if self.settings.policy == "priority" else self.waiting[0]

    def _may_start(self, r: int) -> bool:
        """Whether the order lets the head r of the queue start in this step."""
        return True

    def _note_arrivals(self, arrived: list[int]) -> None:
        """Whatever follows from arrivals."""

    def _begin_step(self) -> None:
        """Whatever comes before pass 1."""

    def _end_step(self, duration: float) -> None:
        """Whatever comes after the last token of the step."""

    def _is_short(self) -> bool:
        """Whether memory is short in this step, so that nobody is admitted."""
        return bool(self.evicted) or self.lacks_blocks

    def _choose_victim(self) -> int:
        return choose_victim(self)

    def _dequeue(self) -> int:
        if self.settings.policy == "priority":
            return heapq.heappop(self.waiting)[2]
        return self.waiting.popleft()

    # ---- what a step computes ----

    def _schedule(self) -> None:
        settings = self.settings
        crowd = len(self.running) + len(self.waiting)
        self.threshold = settings.long_prefill_token_threshold if crowd > 1 else 0
        if self.threshold and settings.long_prefill_token_threshold_adaptive:
            self.threshold = max(self.threshold, settings.max_num_batched_tokens // crowd)
        self.budget = settings.max_num_batched_tokens
        self.grants: dict[int, int] = {}  # in schedule order
        self.evicted: list[int] = []
        self.admitted: list[int] = []
        self.lacks_blocks = False
        self.swapped = 0
        self.is_held = (
            settings.prefill_schedule_interval > 1
            and not self.is_saturated
            and self.executed + 1 - self.last_prefill < settings.prefill_schedule_interval
            and any(not self.filling[r] for r in self.running)
        )

        self._begin_step()
        if settings.prefill_first:
            self._serve_running(only_filling=True)
            self._admit()
            if not self.grants:
                self._serve_running(only_filling=False)
        else:
            self._serve_running()
            self._admit()

        if self.grants:
            self.executed += 1
            if any(self._is_prefill(r) for r in self.grants):
                self.last_prefill = self.executed

    def _is_prefill(self, r: int) -> bool:
        """Whether the grant of r holds back later prefills."""
        if r in self.admitted:
            return self.known[r] - self.computed[r] > 1
        return self.filling[r]

    def _wanted(self, r: int) -> int:
        """Tokens r asks for, before the budget."""
        left = self.known[r] - self.computed[r]
        return min(left, self.threshold) if self.threshold else left

    def _grant(self, r: int, tokens: int) -> None:
        blocks = self.blocks(self.computed[r] + tokens)
        self.free -= blocks - self.held[r]
        self.held[r] = blocks
        self.budget -= tokens
        self.grants[r] = tokens

    def _serve_running(self, only_filling: bool | None = None) -> None:
        """Pass 1: over all that run, or only those that are filling, or only the others."""
        i = 0
        while i < len(self.running) and self.budget > 0:
            r = self.running[i]
            is_skipped = (self.is_held and self.filling[r]) or (
                only_filling is not None and self.filling[r] != only_filling
            )
            if is_skipped:
                i += 1
                continue
            tokens = min(self._wanted(r), self.budget)
            need = self.blocks(self.computed[r] + tokens) - self.held[r]
            if self.settings.preemption != "never":
                while need > self.free and r in self.running:
                    victim = self._choose_victim()
                    i -= self.running.index(victim) < i
                    self._evict(victim)
            if r not in self.running:
                continue  # the next one has moved to place i
            if need > self.free:
                self.lacks_blocks = True
            else:
                self._grant(r, tokens)
            i += 1

    def _admit(self) -> None:
        """Pass 2: the queue from its head, only while memory is not short."""
        if self._is_short():
            return
        while self.budget > 0 and self.waiting and len(self.running) < self.settings.most_running:
            r = self._head()
            if self.is_held and self.known[r] - self.computed[r] > 1:
                break
            tokens = self._wanted(r)
            if tokens > self.budget and not self.settings.enable_chunked_prefill:
                break
            tokens = min(tokens, self.budget)
            if not fits(self, r, tokens) or not self._may_start(r):
                break
            self._dequeue()
            self.swapped += self.computed[r]
            self._grant(r, tokens)
            self.running.append(r)
            self.admitted.append(r)
            self._note_admission(r)
        if not self.is_held:
            self.is_saturated = bool(self.waiting)

    # ---- evictions ----

    def _evict(self, r: int) -> None:
        log = self.log
        self.running.remove(r)
        self.budget += self.grants.pop(r, 0)
        self.free += self.held[r]
        self.held[r] = 0
        if self.settings.preemption == "swap":
            self.swapped += self.computed[r]
        else:
            log.out_recomputed[r] += self.computed[r]
            self.computed[r] = 0
            self.filling[r] = True
        if self.settings.preemption == "restart":
            self.known[r] = self.prompt[r]
            log.out_sampled[r] = 0
            log.out_first_token_step[r], log.out_first_token_time[r] = -1, math.nan
        self._enqueue(r, is_evicted=True)
        self.evicted.append(r)
        log.add("pre", step=self.step, req=r)
        log.out_preemptions[r] += 1

    # ---- what a step yields ----

    def _note_admission(self, r: int) -> None:
        log = self.log
        log.add("adm", step=self.step, req=r, resumed=log.out_preemptions[r] > 0)
        if log.out_first_sched_step[r] < 0:
            log.out_first_sched_step[r] = self.step
            log.out_first_sched_time[r] = self.clock

    def _finish_step(self, arrived: int) -> None:
        chunks = {r: t for r, t in self.grants.items() if self.filling[r]}
        decoding = [r for r in self.grants if not self.filling[r]]
        prefilled, held_kv = sum(chunks.values()), sum(self.computed[r] for r in decoding)
        attended = sum(t * (2 * self.computed[r] + t) for r, t in chunks.items()) / 2
        duration = self.duration(prefilled, len(decoding), held_kv, attended)
        end = self.clock + (duration + self.settings.swap_s_per_token * self.swapped)
        for r, tokens in self.grants.items():
            self.computed[r] += tokens
        self.log.add(
            "step",
            clock=self.clock,
            end=end,
            arrived=arrived,
            P=prefilled,
            B=len(decoding),
            KV=held_kv,
            free_mid=self.free,
            running=len(self.running),
            waiting=len(self.waiting),
            entries=len(self.grants),
            tokens=sum(self.computed[r] for r in self.running),
            swapped=self.swapped,
        )
        for r, tokens in self.grants.items():
            samples = self.computed[r] == self.known[r]
            self.log.add("ent", req=r, tok=tokens, sampled=samples)
            if samples:
                self._sample(r, end)
        self.log.step_free_end.append(self.free)
        self._end_step(end - self.clock)
        self.clock = end
        self.step += 1

    def _sample(self, r: int, end: float) -> None:
        log = self.log
        self.known[r] += 1
        self.filling[r] = False
        log.out_sampled[r] = self.known[r] - self.prompt[r]
        if log.out_first_token_step[r] < 0:
            log.out_first_token_step[r], log.out_first_token_time[r] = self.step, end
        if log.out_sampled[r] == self.output[r]:
            self.running.remove(r)
            self.free += self.held[r]
            self.held[r] = 0
            log.out_status[r] = "finished"
            log.out_finish_step[r], log.out_finish_time[r] = self.step, end
            log.add("fin", step=self.step, req=r)
