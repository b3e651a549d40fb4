"""Between steps: who has ended leaves, who has a prompt computed takes a seat."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import while_loop
from jaxsched.engine.online.intervals import bucket_of, count
from jaxsched.engine.online.lanes import any_of, choose, once, put, take
from jaxsched.engine.online.seats import NEVER, Survey, blocks_in_use, nowhere, seat_bits, survey
from jaxsched.engine.online.state import Kernel, blocks_of
from jaxsched.engine.online.together import State


class Settled(NamedTuple):
    """What the step to come must know, ``[B]``."""

    is_settled: jax.Array  # nobody is left to leave or to be seated
    first_end: jax.Array  # D at which the next request ends


class _Move(NamedTuple):
    leaves: jax.Array
    seat_left: jax.Array
    left: jax.Array
    cached_left: jax.Array
    enters: jax.Array
    seat: jax.Array
    request: jax.Array
    known: jax.Array
    end: jax.Array
    block: jax.Array
    asks: jax.Array
    max_itl: jax.Array
    first_token: jax.Array
    itl: jax.Array
    resumes: jax.Array


def settle(kernel: Kernel, state: State) -> tuple[State, Settled]:
    """Let one request that has ended leave, and one whose prompt is computed take a seat."""
    size = kernel.limits.block_size
    seats, seen = survey(state.seats, state.tick, size, state.pause, state.seat_blocks)
    state = state._replace(seats=seats, pause=jnp.zeros_like(state.pause))
    move = once(kernel.one, lambda: _move(kernel, state, seen))
    records = state.records
    nobody = jnp.full_like(move.left, kernel.nobody)

    tier = take(kernel.streams.tier, move.request)
    max_itl_left = take(seats.max_itl, move.seat_left)
    end, block, request, admission, tiers, itls, completion, max_itl, first_token = put(
        kernel.writing,
        move.leaves | move.enters,
        (seats.end, move.seat, move.end),
        (seats.block, move.seat, move.block),
        (seats.request, move.seat, move.request),
        (seats.admission, move.seat, state.admitted + state.seated - state.head),
        (seats.tier, move.seat, tier),
        (seats.max_itl, move.seat, move.max_itl),
        (records.completion, move.left, state.now),
        (records.max_itl, move.left, max_itl_left),
        (records.first_token, move.request, move.first_token),
    )
    never = jnp.full_like(nobody, NEVER)
    end, block = put(
        *(kernel.writing, move.leaves),
        *((end, move.seat_left, never), (block, move.seat_left, never)),
    )
    leaves, enters = move.leaves.astype(jnp.int32), move.enters.astype(jnp.int32)
    seated = state.seated + enters
    totals = state.totals
    if kernel.choices.has_histogram:
        totals = while_loop(
            lambda carry: any_of(carry[1]),
            lambda carry: (
                count(
                    *(kernel, carry[0], bucket_of(kernel, move.itl)),
                    carry[1].astype(jnp.int32),
                ),
                carry[1] ^ carry[1],  # Pallas takes no constant here
            ),
            (totals, move.resumes),
        )[0]
    is_busy = seen.num_ending > leaves
    is_busy |= seated < state.head - (state.filling.known > 0).astype(jnp.int32)
    is_busy |= move.enters & (move.end == state.tick)
    steps = lax.shift_right_logical(seen.ending, jnp.int32(seat_bits(seats, nobody)))
    first_end = jnp.minimum(state.tick + steps, choose(move.enters, move.end, NEVER))
    last_seat = jnp.maximum(seen.last_seat, choose(move.enters, move.seat, -1))
    state = state._replace(
        decoding=state.decoding + enters - leaves,
        cached=state.cached + move.known - move.cached_left,
        free=state.free + blocks_of(move.cached_left, size),
        asked=state.asked + seen.blocks + move.asks.astype(jnp.int32),
        seats=seats._replace(
            request=request, admission=admission, tier=tiers, end=end, block=block, max_itl=itls
        ),
        seat_blocks=blocks_in_use(last_seat),
        seated=seated,
        filled=state.filled - move.known,
        records=records._replace(completion=completion, max_itl=max_itl, first_token=first_token),
        totals=totals,
    )
    return state, Settled(is_settled=~is_busy, first_end=first_end)


def _move(kernel: Kernel, state: State, seen: Survey) -> _Move:
    streams, records, size = kernel.streams, state.records, kernel.limits.block_size
    is_between = ~state.step.is_open
    nobody = kernel.nobody
    no_seat = nowhere(state.seats, size)

    leaves = is_between & (seen.num_ending > 0)
    stride = 1 << seat_bits(state.seats, size)
    seat_left = choose(leaves, seen.ending & (stride - 1), no_seat)
    left = choose(leaves, take(state.seats.request, seat_left), nobody)

    is_partial = (state.filling.known > 0).astype(jnp.int32)
    enters = is_between & (state.seated < state.head - is_partial)
    request = choose(enters, take(state.order, choose(enters, state.seated, nobody)), nobody)
    known = choose(enters, take(records.known, request), 0)
    end = state.tick + take(streams.final, request) - known
    spare = blocks_of(known, size) * size - known
    asks = enters & (spare == 0) & (end > state.tick)
    last_token = take(records.last_token, request)
    first_token = take(records.first_token, request)
    itl = choose(jnp.isnan(last_token), 0.0, state.now - last_token)
    return _Move(
        leaves=leaves,
        seat_left=seat_left,
        left=left,
        cached_left=choose(leaves, take(streams.final, left), 0),
        enters=enters,
        seat=choose(enters, seen.free_seat, no_seat),
        request=request,
        known=known,
        end=end,
        block=state.tick + spare + choose(asks, size, 0),
        asks=asks,
        max_itl=jnp.maximum(take(records.max_itl, request), itl),
        first_token=choose(jnp.isnan(first_token), state.now, first_token),
        itl=itl,
        resumes=enters & ~jnp.isnan(last_token),
    )
