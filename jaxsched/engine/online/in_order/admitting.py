"""Pass 2: the queue from its head, only while memory is not short."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.online.by_rule.crowd import Crowd
from jaxsched.engine.online.in_order.line import look_up, with_start
from jaxsched.engine.online.in_order.rows import ROWS, Rows, fold, spread, total
from jaxsched.engine.online.in_order.running import capped
from jaxsched.engine.online.in_order.state import State
from jaxsched.engine.online.lanes import any_of, choose, num_rows, put, row_of, take
from jaxsched.engine.online.state import Kernel, blocks_of


class _Offer(NamedTuple):
    may: jax.Array
    chunk: jax.Array
    blocks: jax.Array
    left: jax.Array  # tokens to be computed


def admit_all(kernel: Kernel, state: State, here: jax.Array) -> State:
    """Admit while requests may start, in the streams ``here [B]``."""
    step = state.step
    here = here & (step.evictions == step.pushed) & ~step.lacks_blocks
    state = look_up(kernel, state)
    state, _ = while_loop(
        lambda carry: any_of(carry[1].may),
        lambda carry: _with_offer(kernel, _admit(kernel, *carry), here),
        _with_offer(kernel, state, here),
    )
    is_saturated = choose(here & ~step.holds_prefills, state.queued > 0, state.is_saturated)
    return state._replace(is_saturated=is_saturated)


def _with_offer(kernel: Kernel, state: State, here: jax.Array) -> tuple[State, _Offer]:
    limits, step, head = kernel.limits, state.step, state.next
    size = limits.block_size
    computed = take(state.kept.computed, head.request)
    left = head.known - computed
    tokens = capped(step.threshold, left)
    chunk = jnp.minimum(tokens, step.budget)
    extra = choose(state.running > 0, limits.watermark_blocks, 0)
    blocks = blocks_of(computed + chunk, size)
    may = (
        here
        & (state.queued > 0)
        & (step.budget > 0)
        & (state.running < limits.most_running)
        & ~(step.holds_prefills & (left > 1))
        & (limits.is_chunked | (tokens <= step.budget))
        & (blocks + extra <= state.free)
    )
    if kernel.choices.admission == "prompt":
        may &= blocks_of(head.known, size) + extra <= state.free
    if kernel.choices.admission in ("peak", "look_ahead"):
        demand = _peak if kernel.choices.admission == "peak" else _look_ahead
        fits = demand(kernel, state) + extra <= limits.usable_blocks
        may &= fits | (state.running == 0)
    if isinstance(state.waiting, Crowd):
        # Those pushed out in this step do not come back in it, nor does anybody behind them.
        is_before = take(state.waiting.number, head.request) < state.waiting.bar
        may &= (step.pushed == 0) | is_before
    return state, _Offer(may, choose(may, chunk, 0), choose(may, blocks, 0), left)


def _admit(kernel: Kernel, state: State, offer: _Offer) -> State:
    may, chunk, blocks, left = offer
    streams, records, rows, step = kernel.streams, state.records, state.rows, state.step
    request = choose(may, state.next.request, kernel.nobody)
    row = choose(may, state.count, num_rows(rows.request, may) - 1)
    one = may.astype(jnp.int32)
    computed = choose(may, take(state.kept.computed, request), 0)
    scheduled = take(records.first_scheduled, request)
    scheduled = choose(jnp.isnan(scheduled), state.now, scheduled)
    entry = Rows(
        is_taken=one,
        request=request,
        known=take(records.known, request),
        computed=computed,
        held=blocks,
        is_filling=take(state.kept.is_filling, request),
        granted=chunk,
        gives=jnp.zeros_like(chunk),
        last=take(streams.final, request) + 1,
        believed=take(streams.predicted, request),
        tier=take(streams.tier, request),
        preemptions=take(records.preemptions, request),
        first_token=take(records.first_token, request),
        last_token=take(records.last_token, request),
        max_itl=take(records.max_itl, request),
        itl=jnp.zeros_like(state.now),
    )
    *written, first_scheduled = put(
        kernel.writing,
        may,
        *((array, row, value) for array, value in zip(rows, entry, strict=True)),
        (records.first_scheduled, request, scheduled),
    )
    state = with_start(kernel, state, request, may)
    return look_up(
        kernel,
        state._replace(
            free=state.free - blocks,
            count=state.count + one,
            running=state.running + one,
            rows=Rows(*written),
            step=step._replace(
                budget=step.budget - chunk,
                grants=step.grants + one,
                prefills=step.prefills | (may & (left > 1)),
                swapped=step.swapped + computed,
            ),
            records=records._replace(first_scheduled=first_scheduled),
        ),
    )


def _remaining(believed: jax.Array, known: jax.Array) -> jax.Array:
    return jnp.maximum(believed - known, 1)


def _together(kernel: Kernel, state: State) -> tuple[jax.Array, jax.Array]:
    """Of the head of the queue: tokens known, and steps to go as it is believed."""
    known = state.next.known
    return known, _remaining(take(kernel.streams.predicted, state.next.request), known)


def _peak(kernel: Kernel, state: State) -> jax.Array:
    """Blocks of those that run and the head, each at its largest, ``[B]``."""
    size = spread(kernel.limits.block_size)

    def step(blocks: jax.Array, _: jax.Array, rows: Rows) -> jax.Array:
        most = rows.known + _remaining(rows.believed, rows.known)
        return blocks + choose(rows.is_taken > 0, blocks_of(most, size), 0)

    known, remaining = _together(kernel, state)
    blocks = total(fold(state.rows, state.num_blocks, step, 0 * size))
    return blocks + blocks_of(known + remaining, kernel.limits.block_size)


def _look_ahead(kernel: Kernel, state: State) -> jax.Array:
    """Find the most blocks that those that run and the head hold in a step to come, ``[B]``."""
    size = spread(kernel.limits.block_size)
    known, remaining = _together(kernel, state)

    def at(k: jax.Array) -> jax.Array:
        """Blocks held k steps from now."""
        ahead = spread(k)

        def step(blocks: jax.Array, _: jax.Array, rows: Rows) -> jax.Array:
            runs = (rows.is_taken > 0) & (_remaining(rows.believed, rows.known) >= ahead)
            return blocks + choose(runs, blocks_of(rows.known + ahead, size), 0)

        own = blocks_of(known + k, kernel.limits.block_size)
        return total(fold(state.rows, state.num_blocks, step, 0 * size)) + choose(
            remaining >= k, own, 0
        )

    def one_row(row: jax.Array, most: jax.Array) -> jax.Array:
        believed, own, taken = (
            row_of(array, row, known)
            for array in (state.rows.believed, state.rows.known, state.rows.is_taken)
        )
        return jnp.maximum(most, choose(taken > 0, at(_remaining(believed, own)), 0))

    return fori_loop(jnp.int32(0), ROWS * state.num_blocks, one_row, at(remaining))
