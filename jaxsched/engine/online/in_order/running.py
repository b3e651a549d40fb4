"""Pass 1: those that run get tokens and blocks, in order of admission; victims leave."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.online.by_rule.crowd import Crowd
from jaxsched.engine.online.in_order.behind import behind
from jaxsched.engine.online.in_order.line import with_return
from jaxsched.engine.online.in_order.rows import NONE, Rows, best_row, with_row
from jaxsched.engine.online.in_order.state import State
from jaxsched.engine.online.lanes import any_of, choose, num_rows, put, row_of, take
from jaxsched.engine.online.state import Kernel, blocks_of

Who = Literal["all", "filling", "decoding"]


def serve_running(kernel: Kernel, state: State, here: jax.Array, who: Who) -> State:
    """Serve those that run in the streams ``here [B]``."""
    lanes = state.count
    count = choose(here, state.count, 0)

    def one_row(row: jax.Array, state: State) -> State:
        step = state.step
        known, computed, is_filling = (
            row_of(array, row, lanes)
            for array in (state.rows.known, state.rows.computed, state.rows.is_filling)
        )
        asks = (row < count) & (step.budget > 0) & ~(step.holds_prefills & (is_filling > 0))
        if who != "all":
            asks &= (is_filling > 0) == (who == "filling")
        tokens = jnp.minimum(capped(step.threshold, known - computed), step.budget)
        blocks = blocks_of(computed + tokens, kernel.limits.block_size)
        need = blocks - row_of(state.rows.held, row, lanes)

        def is_here(state: State) -> jax.Array:
            return asks & (row_of(state.rows.is_taken, row, lanes) > 0)

        def lacks(state: State) -> jax.Array:
            return is_here(state) & (need > state.free)

        if kernel.choices.preemption != "never":
            state = while_loop(
                lambda state: any_of(lacks(state)),
                lambda state: evict(
                    kernel, state, lacks(state), victim(kernel, state, lacks(state))
                ),
                state,
            )
        gets = is_here(state) & (need <= state.free)
        step, rows = state.step, state.rows
        held = choose(gets, blocks, row_of(rows.held, row, lanes))
        return state._replace(
            free=state.free - choose(gets, need, 0),
            rows=rows._replace(
                held=with_row(rows.held, row, held),
                granted=with_row(
                    rows.granted, row, choose(gets, tokens, row_of(rows.granted, row, lanes))
                ),
            ),
            step=step._replace(
                budget=step.budget - choose(gets, tokens, 0),
                grants=step.grants + gets.astype(jnp.int32),
                lacks_blocks=step.lacks_blocks | (lacks(state)),
            ),
        )

    return fori_loop(jnp.int32(0), jnp.max(count), one_row, state)


def capped(threshold: jax.Array, tokens: jax.Array) -> jax.Array:
    """Tokens asked for, before the budget."""
    return choose(threshold > 0, jnp.minimum(tokens, threshold), tokens)


def evict(kernel: Kernel, state: State, here: jax.Array, row: jax.Array) -> State:
    """Evict the request of ``row [B]`` in every stream ``here [B]``."""
    choices, rows, records = kernel.choices, state.rows, state.records
    nowhere = num_rows(rows.request, here) - 1
    row = choose(here, row, nowhere)
    request = choose(here, take(rows.request, row), kernel.nobody)
    known, computed = take(rows.known, row), choose(here, take(rows.computed, row), 0)
    granted = choose(here, take(rows.granted, row), 0)
    first_token, last_token, max_itl = (
        take(array, row) for array in (rows.first_token, rows.last_token, rows.max_itl)
    )
    is_filling, kept = jnp.ones_like(computed), jnp.zeros_like(computed)
    thrown = computed
    if choices.preemption == "swap":
        is_filling, kept, thrown = take(rows.is_filling, row), computed, kept
    if choices.preemption == "restart":
        known = take(kernel.streams.prompt, request)
        first_token = last_token = jnp.full_like(first_token, jnp.nan)
        max_itl = jnp.zeros_like(max_itl)

    head = state.head - here.astype(jnp.int32)
    place = choose(here, head, kernel.nobody)
    zero, one = jnp.zeros_like(row), here.astype(jnp.int32)
    nth = choose(here, state.step.evictions, nowhere)
    taken, victims, order, knowns, firsts, lasts, itls, preemptions, computeds, fillings = put(
        kernel.writing,
        here,
        (rows.is_taken, row, zero),
        (state.victims, nth, request),
        (state.order, place, request),
        (records.known, request, known),
        (records.first_token, request, first_token),
        (records.last_token, request, last_token),
        (records.max_itl, request, max_itl),
        (records.preemptions, request, take(records.preemptions, request) + one),
        (state.kept.computed, request, kept),
        (state.kept.is_filling, request, is_filling),
    )
    state = with_return(kernel, state, request, here, known, kept)
    step, totals = state.step, state.totals
    return state._replace(
        free=state.free + choose(here, take(rows.held, row), 0),
        running=state.running - one,
        rows=rows._replace(is_taken=taken),
        victims=victims,
        order=order,
        head=head,
        step=step._replace(
            budget=step.budget + granted,
            grants=step.grants - (granted > 0).astype(jnp.int32),
            swapped=step.swapped + kept * one,
            evictions=step.evictions + one,
        ),
        records=records._replace(
            known=knowns,
            first_token=firsts,
            last_token=lasts,
            max_itl=itls,
            preemptions=preemptions,
        ),
        kept=state.kept._replace(computed=computeds, is_filling=fillings),
        totals=totals._replace(recomputed=totals.recomputed + thrown.astype(jnp.int64)),
    )


def victim(kernel: Kernel, state: State, here: jax.Array) -> jax.Array:
    """Choose the row, int32 ``[B]``, of who is evicted for want of memory."""
    if isinstance(state.waiting, Crowd) and kernel.choices.victim == "by_policy":
        return behind(state, state.waiting).row
    return best_row(_victim_key(kernel), state.rows, state.num_blocks, here)


def _victim_key(kernel: Kernel) -> Any:
    """Who is evicted: the first of the rows with the largest key."""
    victim = kernel.choices.victim
    if victim == "by_policy":
        is_ranked = kernel.choices.policy == "priority"
        victim = "worst_priority" if is_ranked else "last_admitted"

    def key(rows: Rows, row: jax.Array) -> jax.Array:
        keys = {
            "last_admitted": row,
            "worst_priority": rows.tier,
            "by_number": rows.tier,
            "least_computed": -rows.computed,
            "most_memory": rows.held,
            "longest_remaining": jnp.maximum(rows.believed - rows.known, 1),
        }[victim]
        return choose(rows.is_taken > 0, keys, -NONE)

    return key
