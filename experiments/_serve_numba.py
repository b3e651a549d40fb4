"""The rival of ``js.serve``: vLLM's scheduler written by hand for one core at a time, on all cores.

Every step is taken, and every running request is looked at in every step; where ``shares_decodes``,
those that decode before the first prefill share one pass without branches. Settings and rules are
vLLM's, first come first served or by a static priority; the clock is float64 seconds.
"""

from typing import NamedTuple

import numba
import numpy as np

OK, STEP_LIMIT, NAN_PRIORITY = 0, 1, 2


class Servers(NamedTuple):
    """Settings under vLLM's names, arrays ``[B]``; ``clock_s [B, 5]`` holds a, b, c, d, e."""

    num_gpu_blocks: np.ndarray
    block_size: np.ndarray
    max_num_seqs: np.ndarray
    max_num_batched_tokens: np.ndarray
    max_model_len: np.ndarray
    enable_chunked_prefill: np.ndarray
    long_prefill_token_threshold: np.ndarray
    long_prefill_token_threshold_adaptive: np.ndarray
    is_priority: np.ndarray
    watermark: np.ndarray
    scheduler_reserve_full_isl: np.ndarray
    prefill_schedule_interval: np.ndarray
    clock_s: np.ndarray


class Outcomes(NamedTuple):
    """Per request ``[B, n]``, -1 and NaN for what never happened, then per stream ``[B]``."""

    first_scheduled_step: np.ndarray
    first_token_step: np.ndarray
    finish_step: np.ndarray
    first_scheduled_s: np.ndarray
    first_token_s: np.ndarray
    completion_s: np.ndarray
    num_preemptions: np.ndarray
    recomputed_tokens: np.ndarray
    num_steps: np.ndarray
    busy_s: np.ndarray
    peak_blocks: np.ndarray
    status: np.ndarray


def serve(
    arrival_s,
    prompt,
    output,
    servers: Servers,
    priority=None,
    max_steps=2**40,
    shares_decodes=True,
) -> Outcomes:
    """Serve ``B`` streams of ``n`` requests, sorted by arrival, on all cores."""
    shape = prompt.shape
    is_nan = np.zeros(shape[0], bool)
    place, badness = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    if priority is not None:
        is_nan = np.isnan(priority).any(axis=1)
        for b in range(shape[0]):
            place[b], badness[b] = _ranks(priority[b], arrival_s[b])
    outcomes = Outcomes(
        *(np.full(shape, -1, np.int64) for _ in range(3)),
        *(np.full(shape, np.nan) for _ in range(3)),
        *(np.zeros(shape, np.int64) for _ in range(2)),
        np.zeros(shape[0], np.int64),
        np.zeros(shape[0]),
        np.zeros(shape[0], np.int64),
        np.where(is_nan, NAN_PRIORITY, OK),
    )
    _serve(
        *(arrival_s, prompt, output, servers, place, badness, max_steps, shares_decodes), outcomes
    )
    return outcomes


def _ranks(priority, arrival_s):
    """Places in the queue, ties by index, and (priority, arrival) as integers, ties equal."""
    n = len(priority)
    place, badness = np.empty(n, np.int64), np.empty(n, np.int64)
    order = np.lexsort((np.arange(n), arrival_s, priority))
    keys = np.stack([priority, arrival_s])[:, order]
    place[order] = np.arange(n)
    badness[order] = np.cumsum([False, *np.any(keys[:, 1:] != keys[:, :-1], axis=0)])
    return place, badness


@numba.njit(parallel=True, cache=True)
def _serve(arrival_s, prompt, output, servers, place, badness, max_steps, shares_decodes, outcomes):
    for b in numba.prange(len(arrival_s)):
        if outcomes.status[b] == OK:
            _serve_one(
                b,
                arrival_s[b],
                prompt[b],
                output[b],
                servers,
                place[b],
                badness[b],
                max_steps,
                shares_decodes,
                outcomes,
            )


@numba.njit(cache=True)
def _push(heap, size, place, request):
    """Put a request into the binary heap by its place in the queue."""
    i = size
    while i > 0 and place[heap[(i - 1) // 2]] > place[request]:
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = request


@numba.njit(cache=True)
def _pop(heap, size, place):
    """Drop the first request of the heap."""
    last = heap[size - 1]
    i, child = 0, 1
    while child < size - 1:
        if child + 1 < size - 1 and place[heap[child + 1]] < place[heap[child]]:
            child += 1
        if place[heap[child]] >= place[last]:
            break
        heap[i] = heap[child]
        i, child = child, 2 * child + 1
    heap[i] = last


@numba.njit(cache=True)
def _serve_one(
    b, arrival_s, prompt, output, servers, place, badness, max_steps, shares_decodes, outcomes
):
    n = len(prompt)
    block_size = servers.block_size[b]
    num_gpu_blocks = servers.num_gpu_blocks[b]
    max_num_seqs = servers.max_num_seqs[b]
    max_tokens = servers.max_num_batched_tokens[b]
    max_model_len = servers.max_model_len[b]
    is_chunked = servers.enable_chunked_prefill[b]
    long_threshold = servers.long_prefill_token_threshold[b]
    is_adaptive = servers.long_prefill_token_threshold_adaptive[b]
    by_priority = servers.is_priority[b]
    spare = np.int64(servers.watermark[b] * num_gpu_blocks)
    reserves = servers.scheduler_reserve_full_isl[b]
    interval = servers.prefill_schedule_interval[b]
    a, per_prefill, per_decode, per_kv, per_attended = servers.clock_s[b]
    usable = num_gpu_blocks - 1

    # Requests that can finish, in order of arrival.
    final = np.empty(n, np.int64)
    to_come = np.empty(n, np.int64)
    num_to_come = 0
    for r in range(n):
        final[r] = min(prompt[r] + output[r], max_model_len)
        most = final[r] - 1
        fits = -(-most // block_size) <= usable and (is_chunked or most <= max_tokens)
        if prompt[r] < max_model_len and fits:
            to_come[num_to_come] = r
            num_to_come += 1

    # The running, in order of admission; `room` is tokens in the blocks held, and a request ends
    # with `last` tokens computed. While it decodes, it knows one token more than it computed.
    most_running = min(max_num_seqs, n)
    request = np.empty(most_running, np.int32)
    computed = np.empty(most_running, np.int32)
    room = np.empty(most_running, np.int32)
    last = np.empty(most_running, np.int32)
    grant = np.empty(most_running, np.int32)
    is_filling = np.empty(most_running, np.bool_)
    known = prompt.astype(np.int64)
    num_leading = 0  # those that decode before the first that is filling
    # The waiting: the evicted (fcfs: a stack) or all (priority: a heap), then the arrived in order.
    apart = np.empty(n, np.int64)
    num_running, num_apart, next_arrived, next_to_come = 0, 0, 0, 0

    free, peak, clock, busy, step = usable, 0, 0.0, 0.0, 0
    executed, last_prefill, is_saturated = 0, -interval, False
    yields_first = np.empty(most_running, np.int64)
    finishes = np.empty(most_running, np.int64)
    while num_running > 0 or num_apart > 0 or next_arrived < num_to_come:
        if step == max_steps:
            outcomes.status[b] = STEP_LIMIT
            break
        if num_running == 0 and num_apart == 0 and next_arrived == next_to_come:
            clock = max(clock, arrival_s[to_come[next_to_come]])
        while next_to_come < num_to_come and arrival_s[to_come[next_to_come]] <= clock:
            if by_priority:
                _push(apart, num_apart, place, to_come[next_to_come])
                num_apart += 1
                next_arrived += 1
            next_to_come += 1

        # What a step may do.
        crowd = num_running + num_apart + next_to_come - next_arrived
        threshold = long_threshold if crowd > 1 else 0
        if threshold > 0 and is_adaptive:
            threshold = max(threshold, max_tokens // crowd)
        budget = max_tokens
        num_evicted = 0
        is_held = False
        if interval > 1 and not is_saturated and executed + 1 - last_prefill < interval:
            for i in range(num_running):
                is_held |= not is_filling[i]

        # Pass 1: the running. Leading decodes that all find blocks are served at once, unless
        # somebody behind them could evict one.
        num_plain = num_leading
        if num_plain > budget or (by_priority and num_plain < num_running) or not shares_decodes:
            num_plain = 0
        need = 0
        for i in range(num_plain):
            need += computed[i] == room[i]
        if need > free:
            num_plain, need = 0, 0
        free -= need
        budget -= num_plain
        for i in range(num_plain, num_running):
            grant[i] = 0
        i = num_plain
        while i < num_running and budget > 0:
            if is_held and is_filling[i]:
                i += 1
                continue
            want = known[request[i]] - computed[i] if is_filling[i] else 1
            if 0 < threshold < want:
                want = threshold
            want = min(want, budget)
            need = 0
            if computed[i] + want > room[i]:
                need = -(-(computed[i] + want - room[i]) // block_size)
            is_evicted = False
            while need > free and not is_evicted:
                v = num_running - 1
                if by_priority:
                    v = 0
                    for k in range(1, num_running):
                        if badness[request[k]] > badness[request[v]]:
                            v = k
                r = request[v]
                if not is_filling[v]:
                    known[r] = computed[v] + 1
                free += room[v] // block_size
                budget += grant[v]
                outcomes.num_preemptions[b, r] += 1
                outcomes.recomputed_tokens[b, r] += computed[v]
                if by_priority:
                    _push(apart, num_apart, place, r)
                else:
                    apart[num_apart] = r
                num_apart += 1
                num_evicted += 1
                num_running -= 1
                for k in range(v, num_running):
                    request[k], computed[k], room[k] = request[k + 1], computed[k + 1], room[k + 1]
                    last[k], grant[k], is_filling[k] = last[k + 1], grant[k + 1], is_filling[k + 1]
                is_evicted = v == i
                if v < i:
                    i -= 1
            if is_evicted:
                continue
            free -= need
            room[i] += need * block_size
            grant[i] = want
            budget -= want
            i += 1

        # Pass 2: admissions.
        admits_prefill = False
        num_before = num_running
        if num_evicted == 0:
            while budget > 0 and num_running < max_num_seqs:
                if num_apart > 0:
                    r = apart[0] if by_priority else apart[num_apart - 1]
                elif next_arrived < next_to_come and not by_priority:
                    r = to_come[next_arrived]
                else:
                    break
                if is_held and known[r] > 1:
                    break
                want = known[r]
                if 0 < threshold < want:
                    want = threshold
                if want > budget and not is_chunked:
                    break
                want = min(want, budget)
                need = -(-want // block_size)
                asked = -(-known[r] // block_size) if reserves else need
                if asked + (spare if num_running > 0 else 0) > free:
                    break
                if num_apart > 0:
                    if by_priority:
                        _pop(apart, num_apart, place)
                    num_apart -= 1
                else:
                    next_arrived += 1
                i = num_running
                request[i], computed[i], room[i], last[i] = r, 0, need * block_size, final[r] - 1
                grant[i], is_filling[i] = want, True
                num_running += 1
                free -= need
                budget -= want
                admits_prefill |= known[r] > 1
                if outcomes.first_scheduled_step[b, r] < 0:
                    outcomes.first_scheduled_step[b, r] = step
                    outcomes.first_scheduled_s[b, r] = clock
            if not is_held:
                is_saturated = num_apart > 0 or next_arrived < next_to_come
        peak = max(peak, usable - free)

        # The model, and what it yields.
        prefilled, decoding, kv, attended = 0, 0, 0, 0
        has_chunk = False
        kept, num_first, num_finished, num_leading = num_plain, 0, 0, -1
        num_ended = 0
        for i in range(num_plain):
            kv += computed[i]
            room[i] += block_size if computed[i] == room[i] else 0
            computed[i] += 1
            num_ended += computed[i] == last[i]
        decoding = num_plain
        if num_ended > 0:
            kept = 0
            while computed[kept] < last[kept]:
                kept += 1
        for i in range(kept, num_running):
            r, tokens = request[i], grant[i]
            if i < num_plain:
                tokens = 0
            elif is_filling[i] and tokens > 0:
                prefilled += tokens
                attended += tokens * (2 * np.int64(computed[i]) + tokens)
                has_chunk |= i < num_before
            elif tokens > 0:
                decoding += 1
                kv += computed[i]
            after = computed[i] + tokens
            filling = is_filling[i]
            if filling and after == known[r]:
                filling = False
                if outcomes.first_token_step[b, r] < 0:
                    outcomes.first_token_step[b, r] = step
                    yields_first[num_first] = r
                    num_first += 1
            if after == last[i] and not filling:
                outcomes.finish_step[b, r] = step
                free += room[i] // block_size
                finishes[num_finished] = r
                num_finished += 1
                continue
            request[kept], computed[kept], room[kept], last[kept] = r, after, room[i], last[i]
            is_filling[kept] = filling
            if filling and num_leading < 0:
                num_leading = kept
            kept += 1
        num_running = kept
        if num_leading < 0:
            num_leading = num_running
        duration = a + per_prefill * prefilled + per_decode * decoding + per_kv * kv
        end = clock + (duration + per_attended * (attended / 2))
        for k in range(num_first):
            outcomes.first_token_s[b, yields_first[k]] = end
        for k in range(num_finished):
            outcomes.completion_s[b, finishes[k]] = end
        executed += 1
        if has_chunk or admits_prefill:
            last_prefill = executed
        busy += end - clock
        clock = end
        step += 1

    outcomes.num_steps[b] = step
    outcomes.busy_s[b] = busy
    outcomes.peak_blocks[b] = peak
