"""What a recorded run does to requests and to memory, by adding up its grants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxsched.model.service.log import ServiceLog

EVICT, ADMIT, GRANT, FINISH = range(4)  # in this order within a step


class Events(NamedTuple):
    """What happens to requests, ``[events]`` each, sorted by request and time.

    Attributes:
      request: whose event it is.
      step: in which step.
      kind: ``EVICT``, ``ADMIT``, ``GRANT`` or ``FINISH``.
      tokens: granted.
      sampled: 1 if the grant yields an output token.
      resumed: what the log says of an admission.
      previous: kind of the event of the request before, -1 if there is none.
      next: kind of the event of the request that follows in this step, -1 if there is none.
      was_running: admissions less evictions and finishes before.
      evictions: how many there were before.
      computed: tokens in the cache before.
      known: prompt and output tokens before.
      generated: output tokens before.
      held: blocks held before.
      is_filling: whether no token was sampled since the cache was last empty.
    """

    request: np.ndarray
    step: np.ndarray
    kind: np.ndarray
    tokens: np.ndarray
    sampled: np.ndarray
    resumed: np.ndarray
    previous: np.ndarray
    next: np.ndarray
    was_running: np.ndarray
    evictions: np.ndarray
    computed: np.ndarray
    known: np.ndarray
    generated: np.ndarray
    held: np.ndarray
    is_filling: np.ndarray


def events_of(log: ServiceLog, prompt: np.ndarray, block_size: int, preemption: str) -> Events:
    """Replay a log, request by request.

    Args:
      log: the record, with requests and steps in range.
      prompt: int64 ``[n]`` tokens.
      block_size: tokens a block.
      preemption: what becomes of evicted requests, see :class:`~jaxsched.Server`.
    """
    tables = (
        (EVICT, log.pre_step, log.pre_req),
        (ADMIT, log.adm_step, log.adm_req),
        (GRANT, log.ent_step, log.ent_req),
        (FINISH, log.fin_step, log.fin_req),
    )
    kind = np.concatenate([np.full(step.size, which) for which, step, _ in tables])
    step = np.concatenate([step for _, step, _ in tables])
    request = np.concatenate([request for _, _, request in tables])
    order = np.lexsort((kind, step, request))

    def of_kind(which: int, values: np.ndarray) -> np.ndarray:
        column = np.zeros(kind.size, np.int64)
        column[kind == which] = values
        return column[order]

    tokens, sampled = of_kind(GRANT, log.ent_tok), of_kind(GRANT, log.ent_sampled)
    resumed = of_kind(ADMIT, log.adm_resumed)
    kind, step, request = kind[order], step[order], request[order]

    is_first = np.diff(request, prepend=-1) != 0
    is_last = np.diff(request, append=-1) != 0
    goes_on = ~is_last & (np.diff(step, append=-1) == 0)
    previous = np.where(is_first, -1, np.roll(kind, 1))
    is_eviction = kind == EVICT
    is_emptied = is_first | (is_eviction & (preemption != "swap"))
    computed = _sums_before(tokens, is_emptied)
    computed = np.where(is_eviction & ~is_first, np.roll(computed + tokens, 1), computed)
    generated = _sums_before(sampled, is_emptied if preemption == "restart" else is_first)
    return Events(
        request=request,
        step=step,
        kind=kind,
        tokens=tokens,
        sampled=sampled,
        resumed=resumed,
        previous=previous,
        next=np.where(goes_on, np.roll(kind, -1), -1),
        was_running=_sums_before(np.array([-1, 1, 0, -1])[kind], is_first),
        evictions=_sums_before(is_eviction.astype(np.int64), is_first),
        computed=computed,
        known=prompt[request] + generated,
        generated=generated,
        held=np.where(previous == GRANT, -(-computed // block_size), 0),
        is_filling=_sums_before(sampled, is_emptied) == 0,
    )


def _sums_before(amounts: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Add up the amounts of earlier events since the last one that ``begins`` a group."""
    total = np.cumsum(amounts) - amounts
    return total - total[np.flatnonzero(begins)][np.cumsum(begins) - 1]


class Totals(NamedTuple):
    """What events come to, int64 ``[steps]``.

    Attributes:
      arrived: requests that are there when the step begins, ever.
      granted: tokens computed in the step.
      prefilled: tokens of prompts among them, recomputation included.
      decoding: requests that decode.
      read: tokens that these have cached before the step.
      squared: by how much the squares of the computed lengths of prompts grow.
      swapped: tokens moved to the host and back.
      evicted: requests that lose their place in the step.
      admitted: requests that are admitted in the step.
      finished: requests that finish at its end.
      running: requests that run, before those finish.
      held: blocks that these hold.
      held_after: blocks held once those that finish gave theirs back.
      cached: tokens in the cache at the end of the step, before that.
    """

    arrived: np.ndarray
    granted: np.ndarray
    prefilled: np.ndarray
    decoding: np.ndarray
    read: np.ndarray
    squared: np.ndarray
    swapped: np.ndarray
    evicted: np.ndarray
    admitted: np.ndarray
    finished: np.ndarray
    running: np.ndarray
    held: np.ndarray
    held_after: np.ndarray
    cached: np.ndarray


def totals_of(
    events: Events, clock: np.ndarray, arrival: np.ndarray, block_size: int, preemption: str
) -> Totals:
    """Add up events by step, and over steps what lasts.

    Args:
      events: those of :func:`events_of`.
      clock: when each step begins, ``[steps]`` seconds.
      arrival: when requests that are not refused arrive, ascending seconds.
      block_size: tokens a block.
      preemption: what becomes of evicted requests.
    """

    def in_step(kind: int, amounts: np.ndarray | int, also: np.ndarray | bool = True) -> np.ndarray:
        chosen = (events.kind == kind) & also
        total = np.zeros(clock.size, np.int64)
        np.add.at(total, events.step[chosen], np.broadcast_to(amounts, chosen.shape)[chosen])
        return total

    tokens, computed, held = events.tokens, events.computed, events.held
    after = computed + tokens
    is_back = (events.previous == ADMIT) & (preemption == "swap")
    evicted, admitted, finished = (in_step(kind, 1) for kind in (EVICT, ADMIT, FINISH))
    freed, dropped = in_step(FINISH, held), in_step(FINISH, computed)
    blocks = in_step(GRANT, -(-after // block_size) - held) - in_step(EVICT, held)
    cached = in_step(GRANT, np.where(is_back, after, tokens)) - in_step(EVICT, computed)
    return Totals(
        arrived=np.searchsorted(arrival, clock, side="right"),
        granted=in_step(GRANT, tokens),
        prefilled=in_step(GRANT, tokens, events.is_filling),
        decoding=in_step(GRANT, 1, ~events.is_filling),
        read=in_step(GRANT, computed, ~events.is_filling),
        squared=in_step(GRANT, tokens * (2 * computed + tokens), events.is_filling),
        swapped=in_step(GRANT, computed, is_back) + in_step(EVICT, computed, preemption == "swap"),
        evicted=evicted,
        admitted=admitted,
        finished=finished,
        running=np.cumsum(admitted - evicted - finished) + finished,
        held=np.cumsum(blocks - freed) + freed,
        held_after=np.cumsum(blocks - freed),
        cached=np.cumsum(cached - dropped) + dropped,
    )
