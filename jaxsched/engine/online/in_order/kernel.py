"""Steps of the general kernel, one after another."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.online.in_order.admitting import admit_all
from jaxsched.engine.online.in_order.ending import end
from jaxsched.engine.online.in_order.line import upto, with_arrival
from jaxsched.engine.online.in_order.ordering import order_anew
from jaxsched.engine.online.in_order.rows import Rows, fold, spread, total, without_grants
from jaxsched.engine.online.in_order.running import serve_running
from jaxsched.engine.online.in_order.state import State, no_step
from jaxsched.engine.online.lanes import any_of, choose, put, row_of, take
from jaxsched.engine.online.queue import Waiting, arrive
from jaxsched.engine.online.state import Kernel
from jaxsched.model.schedule import Status


def advance(kernel: Kernel, state: State, until: jax.Array) -> State:
    """Run every step that begins before ``until`` (float64 ``[B]`` seconds)."""
    state = state._replace(is_live=state.totals.status == int(Status.OK))
    return while_loop(
        lambda state: any_of(state.is_live), lambda state: step(kernel, state, until), state
    )


def step(kernel: Kernel, state: State, until: jax.Array) -> State:
    """Take every live stream on by one step."""
    state, before = schedule(kernel, state, until)
    return end(kernel, state, before)


def schedule(kernel: Kernel, state: State, until: jax.Array) -> tuple[State, jax.Array]:
    """Begin a step in every live stream and grant its tokens.

    Returns:
      The state, and int32 ``[B]``, the rows that were in use before anybody was admitted.
    """
    former = upto(kernel, state)
    state = order_anew(kernel, _begin(kernel, state, until), former)
    here, before = state.step.is_open, state.count
    if not kernel.choices.prefill_first:
        state = serve_running(kernel, state, here, "all")
        return admit_all(kernel, state, here), before
    state = serve_running(kernel, state, here, "filling")
    state = admit_all(kernel, state, here)
    rest = here & (state.step.grants == 0)
    return serve_running(kernel, state, rest, "decoding"), before


def _begin(kernel: Kernel, state: State, until: jax.Array) -> State:
    limits, totals = kernel.limits, state.totals
    is_idle = (state.running == 0) & (state.queued == 0) & (state.next_arrival > state.now)
    is_over = (state.now >= until) | (is_idle & (state.next_arrival >= until))
    is_late = ~is_over & (totals.steps >= limits.max_steps)
    starts = state.is_live & ~is_over & ~is_late
    jumps = starts & is_idle
    now = choose(jumps, state.next_arrival, state.now)
    state = state._replace(
        is_live=starts,
        origin=choose(jumps, now, state.origin),
        work=choose(jumps, jax.tree.map(jnp.zeros_like, state.work), state.work),
        now=now,
        totals=totals._replace(
            busy=totals.busy + choose(jumps, state.now - state.origin, 0.0),
            status=choose(state.is_live & is_late, int(Status.STEP_LIMIT), totals.status),
        ),
    )
    state = _arrive(kernel, state, starts)

    crowd = state.running + state.queued
    share = lax.div(limits.token_budget, jnp.maximum(crowd, 1))
    threshold = limits.threshold
    threshold = choose(limits.is_adaptive, jnp.maximum(threshold, share), threshold)
    threshold = choose((crowd > 1) & (limits.threshold > 0), threshold, 0)
    holds = (
        (limits.prefill_interval > 1)
        & ~state.is_saturated
        & (state.executed + 1 - state.last_prefill < limits.prefill_interval)
        & (_num_decoding(state) > 0)
    )
    fresh = no_step(state.count)._replace(
        is_open=starts,
        budget=limits.token_budget,
        threshold=threshold,
        holds_prefills=holds,
    )
    return state._replace(step=fresh, rows=without_grants(state.rows, state.num_blocks, starts))


def _arrive(kernel: Kernel, state: State, here: jax.Array) -> State:
    """Let all wait that have arrived."""
    arrival = kernel.streams.arrival
    if isinstance(state.waiting, Waiting):
        waiting = arrive(state.waiting, arrival, state.now, here, kernel.writing)
        return state._replace(
            waiting=waiting, arrived=waiting.arrived, next_arrival=waiting.next_arrival
        )

    def due(state: State) -> jax.Array:
        return here & (state.next_arrival <= state.now)

    def one_each(state: State) -> State:
        joins = due(state)
        state = with_arrival(kernel, state, take(state.order, state.arrived), joins)
        arrived = state.arrived + joins.astype(jnp.int32)
        upcoming = take(arrival, take(state.order, arrived))
        return state._replace(arrived=arrived, next_arrival=upcoming)

    return while_loop(lambda state: any_of(due(state)), one_each, state)


def _num_decoding(state: State) -> jax.Array:
    def step(count: jax.Array, _: jax.Array, rows: Rows) -> jax.Array:
        return count + ((rows.is_taken > 0) & (rows.is_filling == 0)).astype(jnp.int32)

    return total(fold(state.rows, state.num_blocks, step, spread(0 * state.count)))


def with_open_records(kernel: Kernel, state: State) -> State:
    """Write down what is known of those that have not ended, which their rows hold."""
    rows, lanes = state.rows, state.count

    def one_row(row: jax.Array, found: list[jax.Array]) -> list[jax.Array]:
        here = row_of(rows.is_taken, row, lanes) > 0
        request = choose(here, row_of(rows.request, row, lanes), kernel.nobody)
        values = (row_of(array, row, lanes) for array in (rows.first_token, rows.max_itl))
        return put(
            kernel.writing,
            here,
            *((array, request, value) for array, value in zip(found, values, strict=True)),
        )

    records = state.records
    firsts, itls = fori_loop(
        jnp.int32(0), jnp.max(state.count), one_row, [records.first_token, records.max_itl]
    )
    return state._replace(records=records._replace(first_token=firsts, max_itl=itls))
