"""The end of a step: time passes, tokens come, requests end, rows close up."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.offline.slots import set_rows, take_rows
from jaxsched.engine.online.in_order.line import with_end
from jaxsched.engine.online.in_order.ordering import remember
from jaxsched.engine.online.in_order.rows import (
    NONE,
    ROWS,
    Rows,
    close_up,
    first_where,
    fold,
    spread,
    total,
)
from jaxsched.engine.online.in_order.state import State
from jaxsched.engine.online.intervals import bucket_of, count
from jaxsched.engine.online.lanes import across, any_of, choose, look_up, num_rows, put, take
from jaxsched.engine.online.state import Kernel
from jaxsched.engine.online.sums import Work, seconds
from jaxsched.model.schedule import Status


class Sums(NamedTuple):
    """What a step computes, ``[B]``."""

    prefilled: jax.Array
    decoded: jax.Array
    cached: jax.Array  # by those that decode, before the step
    half_pairs: jax.Array
    tokens: jax.Array  # cached by all after it
    chunks: jax.Array  # requests that fill and are no newcomers


def end(kernel: Kernel, state: State, before: jax.Array) -> State:
    """End the open steps.

    Args:
      kernel: what does not change.
      state: with every grant of the steps.
      before: int32 ``[B]``, rows that were in use before anybody was admitted.
    """
    step = state.step
    is_stalled = step.is_open & (step.grants == 0) & (step.evictions == 0)
    closes = step.is_open & ~is_stalled
    sums = sums_of(state, before)
    work = state.work + Work(
        steps=closes.astype(jnp.float64),
        prefilled=sums.prefilled.astype(jnp.float64),
        decoded=sums.decoded.astype(jnp.float64),
        cached=sums.cached.astype(jnp.float64),
        half_pairs=sums.half_pairs,
        swapped=step.swapped.astype(jnp.float64),
    )
    work = choose(closes, work, state.work)
    now = state.origin + seconds(kernel.limits.cost, work)
    duration = choose(closes, now - state.now, 0.0)
    executed = state.executed + (closes & (step.grants > 0)).astype(jnp.int32)
    is_prefill = closes & (step.prefills | (sums.chunks > 0))
    totals = state.totals
    totals = totals._replace(
        steps=totals.steps + closes.astype(jnp.int64),
        peak=jnp.maximum(totals.peak, sums.tokens),
        token_seconds=totals.token_seconds + sums.tokens.astype(jnp.float64) * duration,
        status=choose(is_stalled, int(Status.STALLED), totals.status),
    )
    state = state._replace(
        is_live=state.is_live & ~is_stalled,
        work=work,
        executed=executed,
        last_prefill=choose(is_prefill, executed, state.last_prefill),
        step=step._replace(is_open=jnp.zeros_like(closes)),
        totals=totals,
    )
    state = _sample(state._replace(now=choose(closes, now, state.now)), closes)
    state = remember(kernel, state, before, closes, duration)
    if kernel.choices.has_histogram:
        state = _count_times(kernel, state, duration)
    state = _let_end(kernel, state)
    rows, count = close_up(state.rows, state.count)
    return state._replace(rows=rows, count=count)


def sums_of(state: State, before: jax.Array) -> Sums:
    """Say what the step at hand computes; arguments as for :func:`end`."""
    before = spread(before)

    def step(sums: Sums, row: jax.Array, rows: Rows) -> Sums:
        fills, is_taken = rows.is_filling > 0, rows.is_taken > 0
        gets = is_taken & (rows.granted > 0)
        chunk = choose(gets & fills, rows.granted, 0)
        long = chunk.astype(jnp.float64)
        return Sums(
            prefilled=sums.prefilled + chunk,
            decoded=sums.decoded + (gets & ~fills).astype(jnp.int32),
            cached=sums.cached + choose(gets & ~fills, rows.computed, 0),
            half_pairs=sums.half_pairs + long * (long + 2.0 * rows.computed.astype(jnp.float64)),
            tokens=sums.tokens + choose(is_taken, rows.computed + rows.granted, 0),
            chunks=sums.chunks + (gets & fills & (row < before)).astype(jnp.int32),
        )

    zero = jnp.zeros_like(before)
    start = Sums(zero, zero, zero, zero.astype(jnp.float64), zero, zero)
    return jax.tree.map(total, fold(state.rows, state.num_blocks, step, start))


def _sample(state: State, closes: jax.Array) -> State:
    """Let tokens granted be computed, and those give a token whose known ones then are.

    In two passes, each of which writes nothing that it reads elsewhere: XLA would copy it.
    """
    now, closes = spread(state.now), spread(closes)
    width = now.shape[0]

    def read(rows: Rows, block: jax.Array) -> Rows:
        return jax.tree.map(lambda array: take_rows(array, block * width, width), rows)

    def write(rows: Rows, block: jax.Array, **new: jax.Array) -> Rows:
        return rows._replace(
            **{
                name: set_rows(getattr(rows, name), block * width, value)
                for name, value in new.items()
            }
        )

    def give(block: jax.Array, rows: Rows) -> Rows:
        old = read(rows, block)
        gets = closes & (old.is_taken > 0) & (old.granted > 0)
        gives = gets & (old.computed + old.granted == old.known)
        is_next = gives & ~jnp.isnan(old.last_token)
        itl = choose(is_next, now - old.last_token, -1.0)
        return write(rows, block, gives=gives.astype(jnp.int32), itl=itl)

    def take_in(block: jax.Array, rows: Rows) -> Rows:
        old = read(rows, block)
        gives = old.gives > 0
        return write(
            rows,
            block,
            known=old.known + old.gives,
            computed=old.computed + choose(closes & (old.is_taken > 0), old.granted, 0),
            is_filling=choose(gives, 0, old.is_filling),
            first_token=choose(gives & jnp.isnan(old.first_token), now, old.first_token),
            last_token=choose(gives, now, old.last_token),
            max_itl=jnp.maximum(old.max_itl, old.itl),
        )

    rows = fori_loop(jnp.int32(0), state.num_blocks, give, state.rows)
    rows = fori_loop(jnp.int32(0), state.num_blocks, take_in, rows)
    return state._replace(rows=rows)


def _count_times(kernel: Kernel, state: State, duration: jax.Array) -> State:
    """Count times between tokens: together those who had one in the step before."""
    one_step = spread(duration)
    none = spread(jnp.zeros_like(state.count))

    def counts(rows: Rows) -> jax.Array:
        return (rows.itl >= 0.0) & _is_final(kernel, rows)

    def step(carry: jax.Array, _: jax.Array, rows: Rows) -> jax.Array:
        return carry + (counts(rows) & (rows.itl == one_step)).astype(jnp.int32)

    regular = total(fold(state.rows, state.num_blocks, step, none))
    totals = count(kernel, state.totals, bucket_of(kernel, duration), regular)

    def next_after(row: jax.Array) -> jax.Array:
        own = spread(row)

        def step(first: jax.Array, number: jax.Array, rows: Rows) -> jax.Array:
            is_other = counts(rows) & (rows.itl != one_step) & (number > own)
            return jnp.minimum(first, choose(is_other, number, NONE))

        rows = fold(state.rows, state.num_blocks, step, none + NONE)
        return across(jnp.minimum, rows, row.shape[0])

    def one_each(carry: Any) -> Any:
        totals, row = carry
        here = row < NONE
        itl = take(state.rows.itl, choose(here, row, num_rows(state.rows.request, row) - 1))
        bucket = bucket_of(kernel, choose(here, itl, 0.0))
        totals = count(kernel, totals, bucket, here.astype(jnp.int32))
        return totals, next_after(row)

    totals, _ = while_loop(
        lambda carry: any_of(carry[1] < NONE),
        one_each,
        (totals, next_after(jnp.full_like(state.count, -1))),
    )
    return state._replace(totals=totals)


def _is_final(kernel: Kernel, rows: Rows) -> jax.Array:
    """Whether the tokens of a request are not lost to a restart yet to come."""
    if kernel.final_run is None:
        return rows.is_taken > 0
    num_streams = rows.request.shape[0] // ROWS
    lane = lax.rem(lax.iota(jnp.int32, rows.request.shape[0]), jnp.int32(num_streams))
    place = rows.request * num_streams + lane
    return rows.preemptions == look_up(kernel.final_run, place)


def _let_end(kernel: Kernel, state: State) -> State:
    """Let those leave whose last token has come."""

    def ended(state: State) -> jax.Array:
        return first_where(
            state.rows,
            state.num_blocks,
            state.count,
            lambda rows: (rows.is_taken > 0) & (rows.known == rows.last),
        )

    def one_each(carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        state, row = carry
        rows, records, here = state.rows, state.records, row < NONE
        row = choose(here, row, num_rows(rows.request, row) - 1)
        request = choose(here, take(rows.request, row), kernel.nobody)
        taken, completion, firsts, itls = put(
            kernel.writing,
            here,
            (rows.is_taken, row, jnp.zeros_like(row)),
            (records.completion, request, state.now),
            (records.first_token, request, take(rows.first_token, row)),
            (records.max_itl, request, take(rows.max_itl, row)),
        )
        state = with_end(kernel, state, request, here)
        state = state._replace(
            free=state.free + choose(here, take(rows.held, row), 0),
            running=state.running - here.astype(jnp.int32),
            rows=rows._replace(is_taken=taken),
            records=records._replace(completion=completion, first_token=firsts, max_itl=itls),
        )
        return state, ended(state)

    state, _ = while_loop(lambda carry: any_of(carry[1] < NONE), one_each, (state, ended(state)))
    return state
