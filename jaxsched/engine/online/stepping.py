"""A step: those that decode and the one that fills take blocks, victims leave, the queue enters."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsched._lib.loops import while_loop
from jaxsched.engine.online.evicting import chunk_of, evict, is_short
from jaxsched.engine.online.lanes import any_of, choose, once, put, take
from jaxsched.engine.online.queue import arrive, clear_bit, least
from jaxsched.engine.online.settling import Settled
from jaxsched.engine.online.state import Head, Kernel, blocks_of
from jaxsched.engine.online.together import Filling, State, Step
from jaxsched.model.schedule import Status


class Admission(NamedTuple):
    """Whether the head of the queue may start, ``[B]``, its tokens and blocks in this step."""

    may: jax.Array
    chunk: jax.Array
    blocks: jax.Array


def begin(kernel: Kernel, state: State, settled: Settled, until: jax.Array) -> State:
    """Begin the step of every stream that is settled, or stop the stream."""
    state, starts = _start(kernel, state, settled, until)
    if state.waiting is not None:
        waiting = arrive(state.waiting, kernel.streams.arrival, state.now, starts, kernel.writing)
        state = look_up(kernel, state._replace(waiting=waiting))
    state = while_loop(
        lambda state: any_of(starts & is_short(kernel, state)),
        lambda state: evict(kernel, state, starts & is_short(kernel, state)),
        state,
    )
    return _grant(kernel, state, starts)


def _start(
    kernel: Kernel, state: State, settled: Settled, until: jax.Array
) -> tuple[State, jax.Array]:
    totals = state.totals
    upcoming = (
        state.next.arrival
        if state.waiting is None
        else jnp.minimum(state.next.arrival, state.waiting.next_arrival)
    )
    starts = state.is_live & ~state.step.is_open & settled.is_settled
    is_idle = (state.decoding + state.head - state.seated == 0) & (upcoming > state.now)
    is_over = (state.now >= until) | (is_idle & (upcoming >= until))
    is_late = ~is_over & (totals.steps >= kernel.limits.max_steps)
    stops = starts & (is_over | is_late)
    starts &= ~stops
    jumps = starts & is_idle
    now = choose(jumps, upcoming, state.now)
    zero, no = jnp.zeros_like(state.head), jnp.zeros_like(starts)
    fresh = Step(starts, kernel.limits.token_budget, zero - 1, zero, 0 * state.work.steps, no)
    return state._replace(
        is_live=state.is_live & ~stops,
        origin=choose(jumps, now, state.origin),
        work=choose(jumps, jax.tree.map(jnp.zeros_like, state.work), state.work),
        now=now,
        step=choose(starts, fresh, state.step),
        totals=totals._replace(
            busy=totals.busy + choose(jumps, state.now - state.origin, 0.0),
            status=choose(stops & is_late, int(Status.STEP_LIMIT), totals.status),
        ),
    ), starts


def _grant(kernel: Kernel, state: State, starts: jax.Array) -> State:
    filling, step = state.filling, state.step
    chunk, blocks = chunk_of(kernel, state)
    chunk, blocks = choose(starts, (chunk, blocks), (0 * chunk, 0 * blocks))
    computed = filling.computed + chunk
    is_done = computed == filling.known
    pairs = chunk.astype(jnp.float64) * (2 * filling.computed + chunk).astype(jnp.float64)
    return state._replace(
        free=state.free - choose(starts, state.asked, 0) - blocks,
        asked=choose(starts, 0, state.asked),
        filling=filling._replace(
            known=choose(is_done, 0, filling.known), computed=choose(is_done, 0, computed)
        ),
        filled=state.filled + chunk,
        step=step._replace(
            budget=step.budget - choose(starts, state.decoding, 0) - chunk,
            prefilled=step.prefilled + chunk,
            half_pairs=step.half_pairs + pairs,
        ),
    )


def may_admit(kernel: Kernel, state: State) -> Admission:
    """Look whether the head of the queue may start in this step."""
    limits, step, head = kernel.limits, state.step, state.next
    running = state.decoding + state.head - state.seated
    extra = choose(running > 0, limits.watermark_blocks, 0)
    chunk = jnp.minimum(head.known, step.budget)
    blocks = blocks_of(chunk, limits.block_size)
    is_whole = kernel.choices.admission == "prompt"
    needed = blocks_of(head.known, limits.block_size) if is_whole else blocks
    may = (
        step.is_open
        & ~step.has_evicted
        & (step.budget > 0)
        & (head.arrival <= state.now)
        & (running < limits.most_running)
        & (limits.is_chunked | (head.known <= step.budget))
        & (needed + extra <= state.free)
    )
    return Admission(may, choose(may, chunk, 0), choose(may, blocks, 0))


def admit(kernel: Kernel, state: State) -> State:
    """Admit one request in every stream where the head of the queue may start."""
    step, request = state.step, state.next.request
    may, chunk, blocks = once(kernel.one, lambda: may_admit(kernel, state))
    is_partial = may & (chunk < state.next.known)
    here = choose(may, request, kernel.nobody)
    scheduled = take(state.records.first_scheduled, here)
    scheduled = choose(jnp.isnan(scheduled), state.now, scheduled)
    (first_scheduled,) = put(kernel.writing, may, (state.records.first_scheduled, here, scheduled))
    long = chunk.astype(jnp.float64)
    state = state._replace(
        free=state.free - blocks,
        admitted=state.admitted + may.astype(jnp.int32),
        filling=choose(is_partial, Filling(request, state.next.known, chunk), state.filling),
        filled=state.filled + chunk,
        step=step._replace(
            budget=step.budget - chunk,
            prefilled=step.prefilled + chunk,
            half_pairs=step.half_pairs + long * long,
        ),
        records=state.records._replace(first_scheduled=first_scheduled),
    )
    if state.waiting is not None:
        place = choose(may, state.head, kernel.nobody)
        (order,) = put(kernel.writing, may, (state.order, place, here))
        waiting = clear_bit(state.waiting, request, may, kernel.writing)
        state = state._replace(order=order, waiting=waiting)
    return look_up(kernel, state._replace(head=state.head + may.astype(jnp.int32)))


def look_up(kernel: Kernel, state: State) -> State:
    """See who is next in line."""

    def find() -> Head:
        if state.waiting is None:
            request = take(state.order, state.head)
        else:
            request = least(state.waiting, state.head)
        known = take(state.records.known, request)
        return Head(request, known, take(kernel.streams.arrival, request))

    return state._replace(next=once(kernel.one, find))
