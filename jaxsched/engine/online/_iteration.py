from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.online._clock import decode_steps, seconds, steps_before
from jaxsched.engine.online._lanes import Writing, any_of, choose, put, take
from jaxsched.engine.online._seats import (
    LONGEST_SKIP, NEVER, ROWS, Seats, latest, seat_stride, survey,
)
from jaxsched.engine.online._state import (
    STALLED, STEP_LIMIT, Choices, Filling, Head, Limits, State, Step, Streams, blocks_of,
)


class Program(NamedTuple):
    streams: Streams
    limits: Limits
    choices: Choices
    writing: Writing
    once: jax.Array

    def stage(self, compute, like):
        """Materialise."""
        start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
        _, out = lax.while_loop(
            lambda c: c[0] < self.once, lambda c: (c[0] + 1, compute()), (jnp.int32(0), start)
        )
        return out

    def phase(self, compute, carry):
        _, out = lax.while_loop(
            lambda c: c[0] < self.once, lambda c: (c[0] + 1, compute(c[1])), (jnp.int32(0), carry)
        )
        return out

    def advance(self, state: State, until: jax.Array) -> State:
        """Run every step that begins before ``until [B]``."""
        is_live = state.totals.status == 0
        state = state._replace(is_live=is_live)
        return lax.while_loop(
            lambda state: any_of(state.is_live), lambda state: self.iterate(state, until), state
        )

    def iterate(self, state: State, until: jax.Array) -> State:
        last = _Settled(state.is_live, state.head)
        state, last = self.phase(lambda c: self._settle(c[0]), (state, last))
        state = self.phase(lambda s: self._open(s, last, until), state)
        state = self.phase(self._admit, state)
        closing = self.stage(
            lambda: self._closing(state, last, until),
            _Closing(state.is_live, state.is_live, state.head, state.work, state.now),
        )
        return self._close(state, closing)

    # ---- between steps ----

    def _settle(self, state: State) -> tuple[State, _Settled]:
        """Let one request that has ended leave and seat one that has its prompt computed."""
        streams, limits = self.streams, self.limits
        nobody = jnp.int32(streams.arrival.shape[0] // state.head.shape[0] - 1)
        nowhere = jnp.int32(state.seats.end.shape[0] // state.head.shape[0] - 1)
        size = limits.block_size
        records = state.records
        seats, seen = survey(state.seats, state.tick, size, state.pause, state.seat_blocks)
        asked = state.asked + seen.blocks
        leaves = (seen.num_ending > 0) & ~state.step.is_open
        stride = seat_stride(seats, state.head.shape[0])
        seat_left = choose(leaves, seen.ending & (stride - 1), nowhere)
        left = choose(leaves, take(seats.request, seat_left), nobody)
        gap_left = take(seats.gap, seat_left)
        tokens_left = choose(leaves, take(streams.final, left), 0)
        free = state.free + blocks_of(tokens_left, size)
        cached = state.cached - tokens_left
        decoding = state.decoding - leaves.astype(jnp.int32)

        is_partial = (state.filling.known > 0).astype(jnp.int32)
        enters = (state.seated < state.head - is_partial) & ~state.step.is_open
        request = take(state.queue, choose(enters, state.seated, nobody))
        request = choose(enters, request, nobody)
        known = choose(enters, take(records.known, request), 0)
        end = state.tick + take(streams.final, request) - known
        spare = blocks_of(known, size) * size - known
        asks = enters & (spare == 0) & (end > state.tick)
        block = state.tick + spare + choose(asks, size, 0)
        cached = cached + known
        decoding = decoding + enters.astype(jnp.int32)
        asked = asked + asks.astype(jnp.int32)
        seat = choose(enters, seen.free_seat, nowhere)
        first_scheduled = take(records.first_scheduled, request)
        first_token = take(records.first_token, request)
        last_token = take(records.last_token, request)
        longest = take(records.gap, request)
        filled = state.filling.filled
        began = choose(jnp.isnan(filled), state.before, filled)
        first_scheduled = choose(jnp.isnan(first_scheduled), began, first_scheduled)
        resumed_gap = choose(jnp.isnan(last_token), 0.0, state.now - last_token)
        gap = jnp.maximum(longest, resumed_gap.astype(jnp.float32))
        first_token = choose(jnp.isnan(first_token), state.now, first_token)

        never = jnp.full_like(end, NEVER)
        (
            seat_end, seat_block, seat_request, seat_admission, seat_gap,
            completion, record_gap, scheduled, tokens,
        ) = put(
            (seats.end, seats.block, seats.request, seats.admission, seats.gap,
             records.completion, records.gap, records.first_scheduled, records.first_token),
            (seat, seat, seat, seat, seat, left, left, request, request),
            (end, block, request, state.admitted + state.seated - state.head, gap,
             state.now, gap_left, first_scheduled, first_token),
            self.writing,
        )
        seat_end, seat_block = put(
            (seat_end, seat_block), (seat_left, seat_left), (never, never), self.writing
        )
        seated = state.seated + enters.astype(jnp.int32)
        last_seat = jnp.maximum(seen.last_seat, choose(enters, seen.free_seat, -1))
        state = state._replace(
            pause=jnp.zeros_like(state.pause),
            filling=state.filling._replace(filled=choose(enters, jnp.nan, filled)),
            free=free, cached=cached, decoding=decoding, asked=asked, seated=seated,
            seats=Seats(seat_request, seat_admission, seat_end, seat_block, seat_gap),
            seat_blocks=lax.div(jnp.max(last_seat) + ROWS, jnp.int32(ROWS)),
            records=records._replace(
                completion=completion, gap=record_gap,
                first_scheduled=scheduled, first_token=tokens,
            ),
        )
        busy = (seen.num_ending > leaves) | (seated < state.head - is_partial)
        busy |= enters & (end == state.tick)
        first_end = state.tick + lax.shift_right_logical(
            seen.ending, jnp.full_like(end, stride.bit_length() - 1)
        )
        first_end = jnp.minimum(first_end, choose(enters, end, NEVER))
        return state, _Settled(is_settled=~busy, first_end=first_end)

    # ---- a step ----

    def _open(self, state: State, last: _Settled, until: jax.Array) -> State:
        limits = self.limits
        starts = state.is_live & ~state.step.is_open & last.is_settled
        running = state.decoding + state.head - state.seated
        is_idle = (running == 0) & (state.next.arrival > state.now)
        is_over = (
            (state.now >= until)
            | (is_idle & (state.next.arrival >= until))
        )
        is_late = state.totals.steps >= limits.max_steps
        stops = starts & (is_over | is_late)
        status = choose(starts & ~is_over & is_late, STEP_LIMIT, state.totals.status)
        starts &= ~stops
        jumps = starts & is_idle
        now = choose(jumps, state.next.arrival, state.now)
        totals = state.totals._replace(
            busy=state.totals.busy + choose(jumps, state.now - state.origin, 0.0),
            status=status,
        )
        state = state._replace(
            origin=choose(jumps, now, state.origin),
            work=choose(jumps, jax.tree.map(jnp.zeros_like, state.work), state.work),
            now=now,
            totals=totals,
            is_live=state.is_live & ~stops,
            step=choose(
                starts,
                Step(
                    jnp.ones_like(starts), limits.token_budget, jnp.zeros_like(state.head),
                    jnp.zeros_like(state.work.steps), jnp.zeros_like(starts),
                ),
                state.step,
            ),
        )
        state = lax.while_loop(
            lambda state: any_of(self._is_short(state, starts)),
            lambda state: self._evict(state, self._is_short(state, starts)),
            state,
        )
        chunk, blocks = self._chunk(state)
        chunk, blocks = choose(starts, chunk, 0), choose(starts, blocks, 0)
        filling, step = state.filling, state.step
        computed = filling.computed + chunk
        done = computed == filling.known
        pairs = chunk.astype(jnp.int64) * (2 * filling.computed + chunk).astype(jnp.int64)
        return state._replace(
            free=state.free - choose(starts, state.asked, 0) - blocks,
            asked=choose(starts, 0, state.asked),
            filling=filling._replace(
                known=choose(done, 0, filling.known),
                computed=choose(done, 0, computed),
                filled=choose(starts & done & (filling.known > 0), filling.first_scheduled, filling.filled),
            ),
            step=step._replace(
                budget=step.budget - choose(starts, state.decoding, 0) - chunk,
                prefilled=step.prefilled + chunk,
                half_pairs=step.half_pairs + pairs,
            ),
        )

    def _chunk(self, state: State) -> tuple[jax.Array, jax.Array]:
        filling, size = state.filling, self.limits.block_size
        left = self.limits.token_budget - state.decoding
        chunk = jnp.minimum(filling.known - filling.computed, left)
        held = blocks_of(filling.computed, size)
        return chunk, blocks_of(filling.computed + chunk, size) - held

    def _is_short(self, state: State, starts: jax.Array) -> jax.Array:
        _, blocks = self._chunk(state)
        return starts & (state.asked + blocks > state.free)

    def _evict(self, state: State, is_short: jax.Array) -> State:
        streams, size = self.streams, self.limits.block_size
        nobody = jnp.int32(streams.arrival.shape[0] // state.head.shape[0] - 1)
        nowhere = jnp.int32(state.seats.end.shape[0] // state.head.shape[0] - 1)
        records, seats, filling = state.records, state.seats, state.filling
        is_partial = filling.known > 0
        seat = latest(seats, state.seat_blocks, state.head.shape[0])
        seat = choose(is_short & ~is_partial, seat, nowhere)
        request = choose(
            is_partial, take(state.queue, jnp.maximum(state.head - 1, 0)), take(seats.request, seat)
        )
        request = choose(is_short, request, nobody)
        cached = take(streams.final, request) - (take(seats.end, seat) - state.tick)
        cached = choose(is_short & ~is_partial, cached, 0)
        computed = choose(is_partial, filling.computed, cached)
        computed = choose(is_short, computed, 0)
        known = choose(is_partial, filling.known, cached + 1)
        freed = blocks_of(computed, size)
        asks = is_short & ~is_partial & (blocks_of(cached, size) * size == cached)
        scheduled = take(records.first_scheduled, request)
        scheduled = choose(
            is_partial & jnp.isnan(scheduled), filling.first_scheduled, scheduled
        )
        last = choose(is_partial, take(records.last_token, request), state.now)
        gap = choose(is_partial, take(records.gap, request), take(seats.gap, seat))
        head = state.head - is_short.astype(jnp.int32)
        never = jnp.full_like(head, NEVER)
        count = take(records.preemptions, request) + 1
        where_queued = choose(is_short, head, nobody)
        queue_value = choose(is_short, request, nobody)
        end, block, known_at, scheduled_at, last_at, gap_at, count_at, queue = put(
            (seats.end, seats.block, records.known, records.first_scheduled, records.last_token,
             records.gap, records.preemptions, state.queue),
            (seat, seat, request, request, request, request, request, where_queued),
            (never, never, known, scheduled, last, gap, count, queue_value),
            self.writing,
        )
        evicts_decoding = is_short & ~is_partial
        gone = is_short & is_partial
        return state._replace(
            decoding=state.decoding - evicts_decoding.astype(jnp.int32),
            cached=state.cached - cached,
            free=state.free + freed,
            asked=state.asked - asks.astype(jnp.int32),
            seats=seats._replace(end=end, block=block),
            queue=queue,
            head=head,
            seated=jnp.minimum(state.seated, head),
            next=choose(
                is_short, Head(request, known, jnp.full_like(state.now, -jnp.inf)), state.next
            ),
            filling=Filling(
                choose(gone, 0, filling.known), choose(gone, 0, filling.computed),
                filling.first_scheduled, filling.filled,
            ),
            step=state.step._replace(has_evicted=state.step.has_evicted | is_short),
            records=records._replace(
                known=known_at, first_scheduled=scheduled_at, last_token=last_at, gap=gap_at,
                preemptions=count_at,
            ),
            totals=state.totals._replace(
                recomputed=state.totals.recomputed + computed.astype(jnp.int64)
            ),
        )

    def _may_admit(self, state: State) -> tuple[jax.Array, jax.Array, jax.Array]:
        limits, step, head = self.limits, state.step, state.next
        size = limits.block_size
        running = state.decoding + state.head - state.seated
        extra = choose(running > 0, limits.watermark_blocks, 0)
        chunk = jnp.minimum(head.known, step.budget)
        blocks = blocks_of(chunk, size)
        if self.choices.admission == "prompt":
            whole = blocks_of(jnp.minimum(head.known, limits.max_model_len), size)
        else:
            whole = blocks
        may = (
            step.is_open
            & ~step.has_evicted
            & (step.budget > 0)
            & (head.arrival <= state.now)
            & (running < limits.most_running)
            & (limits.is_chunked | (head.known <= step.budget))
            & (whole + extra <= state.free)
        )
        return may, chunk, blocks

    def _admit(self, state: State) -> State:
        may, chunk, blocks = self._may_admit(state)
        chunk, blocks = choose(may, chunk, 0), choose(may, blocks, 0)
        is_part = may & (chunk < state.next.known)
        head = state.head + may.astype(jnp.int32)
        request = take(state.queue, head)
        known = take(state.records.known, request)
        arrival = take(self.streams.arrival, request)
        one = may.astype(jnp.int32)
        # One who was evicted has arrived; then the arrival is before now in any case.
        step = state.step
        long = chunk.astype(jnp.int64)
        return state._replace(
            free=state.free - blocks,
            admitted=state.admitted + one,
            head=head,
            next=choose(may, Head(request, known, arrival), state.next),
            filling=choose(
                is_part, Filling(state.next.known, chunk, state.now, state.filling.filled), state.filling
            ),
            step=step._replace(
                budget=step.budget - chunk,
                prefilled=step.prefilled + chunk,
                half_pairs=step.half_pairs + long * long,
            ),
        )

    def _closing(self, state: State, last: _Settled, until: jax.Array) -> _Closing:
        step = state.step
        may, _, _ = self._may_admit(state)
        closes = step.is_open & ~may
        is_stalled = (
            closes & (state.decoding == 0) & (step.prefilled == 0) & ~step.has_evicted
        )
        closes &= ~is_stalled
        n, cached = state.decoding, state.cached
        work = decode_steps(n, cached, jnp.ones_like(n))
        work = state.work + work._replace(
            prefilled=step.prefilled.astype(jnp.int64), half_pairs=step.half_pairs
        )
        now = state.origin + seconds(self.limits.cost, work)
        more = jnp.zeros_like(n)
        if self.choices.can_skip:
            zero = jnp.zeros_like
            like = (n, state.work, state.now, state.now)
            more, before_last, now, stop = self.stage(
                lambda: self._bound(state, last, work, now, until), like
            )
            _ = before_last, zero
            more, work, now = self._skip(state, more, before_last, work, stop)
        return _Closing(closes, is_stalled, more, work, now)

    def _close(self, state: State, closing: _Closing) -> State:
        limits, step, totals = self.limits, state.step, state.totals
        cost = limits.cost
        closes, is_stalled, more, work, now = closing
        n, cached = state.decoding, state.cached
        one = jnp.ones_like(n)
        count = one + more
        n64, kv64, p64 = (x.astype(jnp.float64) for x in (n, cached, step.prefilled))
        duration = (
            cost.a + cost.b * p64 + cost.c * n64 + cost.d * kv64
            + 0.5 * cost.e * step.half_pairs.astype(jnp.float64)
        )
        k = count.astype(jnp.float64)
        rise = cost.d * n64
        pause = duration + (k - 1.0) * rise
        return state._replace(
            work=choose(closes, work, state.work),
            now=choose(closes, now, state.now),
            before=choose(closes, state.now, state.before),
            pause=choose(closes, pause, 0.0).astype(jnp.float32),
            tick=state.tick + choose(closes, count, 0),
            cached=cached + choose(closes, count * n, 0),
            step=step._replace(is_open=step.is_open & ~closes),
            totals=totals._replace(
                steps=totals.steps + choose(closes, count, 0).astype(jnp.int64),
                status=choose(is_stalled, STALLED, totals.status),
            ),
            is_live=state.is_live & ~is_stalled,
        )

    def _bound(self, state, last, work, now, until):
        limits, step = self.limits, state.step
        n = state.decoding
        is_plain = (step.prefilled == 0) & ~step.has_evicted & (state.filling.known == 0)
        is_plain &= last.is_settled & (n > 0)
        # The survey saw those that ended too: then the next end is unknown.
        is_plain &= last.first_end > state.tick
        by_end = last.first_end - state.tick - 1
        safe_n = jnp.maximum(n, 1)
        rounds = (state.free.astype(jnp.float64) + 0.5) / safe_n.astype(jnp.float64)
        rounds = jnp.minimum(rounds, LONGEST_SKIP).astype(jnp.int32).astype(jnp.float64)
        by_blocks = jnp.minimum(rounds * limits.block_size.astype(jnp.float64), LONGEST_SKIP)
        waits = state.next.arrival <= state.now
        stop = jnp.minimum(until, choose(waits, jnp.inf, state.next.arrival))
        room = jnp.maximum(stop - now, 0.0)
        by_time = steps_before(limits.cost, n, state.cached + n, room) + (room > 0)
        by_limit = jnp.minimum(limits.max_steps - state.totals.steps - 1, LONGEST_SKIP)
        more = jnp.minimum(
            jnp.minimum(by_end, by_limit.astype(jnp.int32)),
            jnp.minimum(jnp.minimum(by_time, by_blocks), LONGEST_SKIP).astype(jnp.int32),
        )
        more = choose(is_plain, jnp.maximum(more, 0), 0)
        return more, work, now, stop

    def _skip(self, state, more, work, first_work, stop):
        # Its last step must begin before somebody arrives.
        n = state.decoding
        before_last = work + decode_steps(n, state.cached + n, jnp.maximum(more - 1, 0))
        is_early = state.origin + seconds(self.limits.cost, before_last) < stop
        more = choose(is_early, more, 0)
        longer = work + decode_steps(n, state.cached + n, more)
        return more, longer, state.origin + seconds(self.limits.cost, longer)


class _Closing(NamedTuple):
    closes: jax.Array
    is_stalled: jax.Array
    more: jax.Array
    work: object
    now: jax.Array


class _Settled(NamedTuple):
    is_settled: jax.Array
    first_end: jax.Array
