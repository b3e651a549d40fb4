"""When blocks run out: one victim after another leaves, until those that are left can go on.

vLLM asks for blocks one request after another, in order of admission, and evicts when one finds
none. It may as well ask for all that decode at once: whoever finds no block, the victims come in
the same order, and they stop coming when all that are left find theirs. The prompt in part comes
last; how much of it is computed is settled when those that decode have their blocks, and a token
that is given back later does not add to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsched.engine.online.lanes import choose, put, take
from jaxsched.engine.online.queue import set_bit
from jaxsched.engine.online.seats import NEVER, nowhere, worst
from jaxsched.engine.online.state import Head, Kernel, blocks_of
from jaxsched.engine.online.together import Filling, State


def chunk_of(kernel: Kernel, state: State) -> tuple[jax.Array, jax.Array]:
    """Tokens that the one that fills computes in this step, and the blocks it lacks for them."""
    filling, size = state.filling, kernel.limits.block_size
    left = jnp.minimum(
        filling.known - filling.computed, kernel.limits.token_budget - state.decoding
    )
    chunk = choose(state.step.chunk < 0, left, state.step.chunk)
    held = blocks_of(filling.computed, size)
    return chunk, blocks_of(filling.computed + chunk, size) - held


def is_short(kernel: Kernel, state: State) -> jax.Array:
    """Whether there are fewer blocks than those that run ask for, ``[B]``."""
    _, blocks = chunk_of(kernel, state)
    return state.asked + blocks > state.free


def evict(kernel: Kernel, state: State, short: jax.Array) -> State:
    """Evict one victim in every stream that is ``short [B]``."""
    records, seats, filling = state.records, state.seats, state.filling
    size = kernel.limits.block_size
    chunk, _ = chunk_of(kernel, state)
    # Those that decode have asked before.
    is_settled = state.asked <= state.free
    seat, key = worst(
        seats,
        seats.tier if kernel.is_ranked else seats.admission,
        state.seat_blocks,
        size,
    )
    own_tier = take(kernel.streams.tier, filling.request) if kernel.is_ranked else NEVER
    goes_filling = short & (filling.known > 0) & (own_tier > key)
    goes_seat = short & ~goes_filling
    seat = choose(goes_seat, seat, nowhere(seats, size))
    request = choose(goes_filling, filling.request, take(seats.request, seat))
    request = choose(short, request, kernel.nobody)
    cached = take(kernel.streams.final, request) - take(seats.end, seat) + state.tick
    cached = choose(goes_seat, cached, 0)
    computed = cached + choose(goes_filling, filling.computed, 0)
    known = choose(goes_filling, filling.known, cached + 1)
    asks = goes_seat & (blocks_of(cached, size) * size == cached)
    is_partial = (filling.known > 0) & ~goes_filling
    head = state.head - short.astype(jnp.int32)
    seated = choose(short, head - is_partial.astype(jnp.int32), state.seated)

    # Of the queue, the places of those that fill, and under "fcfs" of the one evicted.
    moved = request if not kernel.is_ranked else filling.request
    place = choose(short, head if not kernel.is_ranked else head - 1, kernel.nobody)
    if kernel.is_ranked:
        place = choose(short & is_partial, place, kernel.nobody)
    moved = choose(place == kernel.nobody, kernel.nobody, moved)
    never = jnp.full_like(head, NEVER)
    last_token = choose(goes_seat, state.now, take(records.last_token, request))
    max_itl = choose(goes_seat, take(seats.max_itl, seat), take(records.max_itl, request))
    end, block, order, knowns, last_tokens, itls, preemptions = put(
        kernel.writing,
        short,
        (seats.end, seat, never),
        (seats.block, seat, never),
        (state.order, place, moved),
        (records.known, request, known),
        (records.last_token, request, last_token),
        (records.max_itl, request, max_itl),
        (records.preemptions, request, take(records.preemptions, request) + 1),
    )
    waiting = state.waiting
    if waiting is not None:
        waiting = set_bit(waiting, request, short, kernel.writing)
    arrived = jnp.full_like(state.now, -jnp.inf)
    none = jnp.zeros_like(filling.known)
    step = state.step
    return state._replace(
        decoding=state.decoding - goes_seat.astype(jnp.int32),
        cached=state.cached - cached,
        free=state.free + blocks_of(computed, size),
        asked=state.asked - asks.astype(jnp.int32),
        seats=seats._replace(end=end, block=block),
        order=order,
        head=head,
        seated=seated,
        next=choose(short, Head(request, known, arrived), state.next),
        waiting=waiting,
        filling=choose(goes_filling, Filling(filling.request, none, none), filling),
        filled=state.filled - choose(goes_filling, filling.computed, 0),
        step=step._replace(
            has_evicted=step.has_evicted | short,
            chunk=choose(goes_filling, 0, choose(short & is_settled, chunk, step.chunk)),
        ),
        records=records._replace(
            known=knowns, last_token=last_tokens, max_itl=itls, preemptions=preemptions
        ),
        totals=state.totals._replace(
            recomputed=state.totals.recomputed + computed.astype(jnp.int64)
        ),
    )
