"""A dynamic rule orders the queue anew, and those in front may push out those that run."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsched._lib.loops import while_loop
from jaxsched.engine.online.by_rule.asking import ask, seen_by_rule
from jaxsched.engine.online.by_rule.crowd import Crowd
from jaxsched.engine.online.by_rule.remembering import after_arrivals, after_step
from jaxsched.engine.online.in_order.behind import behind
from jaxsched.engine.online.in_order.line import look_up, upto
from jaxsched.engine.online.in_order.running import capped, evict
from jaxsched.engine.online.in_order.state import State
from jaxsched.engine.online.lanes import any_of, choose, num_rows, take
from jaxsched.engine.online.state import Kernel, blocks_of
from jaxsched.model.schedule import Status


def order_anew(kernel: Kernel, state: State, former: jax.Array) -> State:
    """Ask the rule where somebody waits or pass 1 may run out of blocks; then make room.

    Args:
      kernel: what does not change.
      state: with the arrivals.
      former: int32 ``[B]``, nobody of this row or a later one had arrived before.
    """
    crowd, kind = state.waiting, kernel.choices.dynamic
    if kind is None or not isinstance(crowd, Crowd):
        return state
    step, limits = state.step, kernel.limits
    most = state.running + blocks_of(limits.token_budget, limits.block_size)
    here = step.is_open & ((state.queued > 0) | (state.free < most))
    n, latter = num_rows(kernel.streams.prompt, state.count) - 1, upto(kernel, state)
    if kind.has_state:
        crowd = seen_by_rule(crowd, state.rows, state.count, kernel.writing)
        crowd = after_arrivals(kind, crowd, n, state.now, former, latter)
    crowd, has_nan = ask(
        kind,
        crowd,
        kernel.writing,
        n,
        latter,
        state.now,
        here,
        state.rows,
        state.count,
    )
    status = choose(has_nan, int(Status.NAN_PRIORITY), state.totals.status)
    state = state._replace(
        is_live=state.is_live & ~has_nan,
        waiting=crowd._replace(bar=jnp.full_like(state.now, jnp.inf)),
        step=step._replace(is_open=step.is_open & ~has_nan),
        totals=state.totals._replace(status=status),
    )
    return _make_room(kernel, state) if kind.evicts else state


def _make_room(kernel: Kernel, state: State) -> State:
    """Push out those behind the first in line, if that lets it start, until it can."""

    def seen(state: State) -> tuple[State, jax.Array, jax.Array]:
        state = look_up(kernel, state)
        crowd = state.waiting
        assert isinstance(crowd, Crowd)
        worse = behind(state, crowd, take(crowd.number, state.next.request))
        zero = jnp.zeros_like(state.free)
        helps = (
            (worse.count > 0)
            & ~_could_start(kernel, state, zero, zero)
            & _could_start(kernel, state, worse.count, worse.held)
        )
        return state, state.step.is_open & (state.queued > 0) & helps, worse.row

    def push(carry: tuple[State, jax.Array, jax.Array]) -> tuple[State, jax.Array, jax.Array]:
        state, here, row = carry
        crowd = state.waiting
        assert isinstance(crowd, Crowd)
        nowhere = num_rows(state.rows.request, here) - 1
        request = take(state.rows.request, choose(here, row, nowhere))
        number = take(crowd.number, choose(here, request, kernel.nobody))
        bar = choose(here, jnp.minimum(crowd.bar, number), crowd.bar)
        state = evict(kernel, state._replace(waiting=crowd._replace(bar=bar)), here, row)
        pushed = state.step.pushed + here.astype(jnp.int32)
        return seen(state._replace(step=state.step._replace(pushed=pushed)))

    return while_loop(lambda carry: any_of(carry[1]), push, seen(state))[0]


def _could_start(kernel: Kernel, state: State, count: jax.Array, held: jax.Array) -> jax.Array:
    """Whether the first in line could, did ``count [B]`` with ``held [B]`` blocks not run."""
    limits, step, head = kernel.limits, state.step, state.next
    running, free = state.running - count, state.free + held
    waiting = state.waiting
    assert isinstance(waiting, Crowd)
    computed = take(state.kept.computed, head.request)
    left = head.known - computed
    tokens = capped(step.threshold, left)
    blocks = blocks_of(computed + jnp.minimum(tokens, step.budget), limits.block_size)
    if kernel.choices.admission == "prompt":
        blocks = jnp.maximum(blocks, blocks_of(head.known, limits.block_size))
    extra = choose(running > 0, limits.watermark_blocks, 0)
    return (
        (running < limits.most_running)
        & ~(step.holds_prefills & (left > 1))
        & (limits.is_chunked | (tokens <= step.budget))
        & (blocks + extra <= free)
    )


def remember(
    kernel: Kernel, state: State, before: jax.Array, here: jax.Array, duration: jax.Array
) -> State:
    """Have the rule take note of a step whose tokens have come.

    Args:
      kernel: what does not change.
      state: before those that completed leave.
      before: int32 ``[B]``, rows that were in use before anybody was admitted.
      here: bool ``[B]``, where a step was taken.
      duration: float64 ``[B]`` seconds.
    """
    crowd, kind = state.waiting, kernel.choices.dynamic
    if kind is None or not kind.has_state or not isinstance(crowd, Crowd):
        return state
    n = num_rows(kernel.streams.prompt, state.count) - 1
    crowd = seen_by_rule(crowd, state.rows, state.count, kernel.writing)
    crowd = after_step(
        kind,
        crowd,
        n,
        state.now,
        duration,
        here,
        state.rows,
        before,
        state.victims,
        state.step.evictions,
    )
    return state._replace(waiting=crowd)
