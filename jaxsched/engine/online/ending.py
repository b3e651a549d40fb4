r"""The end of a step, and of the steps after it that are alike.

While all that run decode and nobody can be admitted, steps differ in the tokens cached alone: the
k-th after this one decodes the same n requests. They are taken at once, up to the next end of a
request, the next arrival that matters, and a number of steps for which the free blocks suffice
however they fall: k steps take at most :math:`\lceil k / \text{block size} \rceil` blocks each.
Any smaller number would do, too: one jump and single steps give the same, to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsched.engine.online.intervals import bucket_of, count
from jaxsched.engine.online.lanes import choose, look_up, once
from jaxsched.engine.online.seats import LONGEST_SKIP
from jaxsched.engine.online.settling import Settled
from jaxsched.engine.online.state import Kernel
from jaxsched.engine.online.stepping import may_admit
from jaxsched.engine.online.sums import Work, decode_steps, seconds, steps_before
from jaxsched.engine.online.together import State
from jaxsched.model.schedule import Status


class _End(NamedTuple):
    closes: jax.Array
    is_stalled: jax.Array
    work: Work
    now: jax.Array
    duration: jax.Array


def end(kernel: Kernel, state: State, settled: Settled, until: jax.Array) -> State:
    """End the step of every stream in which nobody else can be admitted."""
    n, step = state.decoding, state.step
    first = once(kernel.one, lambda: _first(kernel, state))
    bucket = None
    if kernel.choices.has_histogram:
        bucket = once(kernel.one, lambda: bucket_of(kernel, first.duration))
    steps, work, now = jnp.ones_like(n), first.work, first.now
    pause, rise = first.duration, kernel.limits.cost.d * n.astype(jnp.float64)
    if kernel.choices.can_skip:
        more, stop = once(kernel.one, lambda: _more(kernel, state, settled, first, bucket, until))
        more, work, now = once(kernel.one, lambda: _skip(kernel, state, first, more, stop))
        steps += more
        pause += rise * more.astype(jnp.float64)
    closes = first.closes
    zero = jnp.zeros_like(n)
    taken = choose(closes, steps, zero)
    cached = state.cached + taken * n
    totals = state.totals._replace(
        steps=state.totals.steps + taken.astype(jnp.int64),
        peak=jnp.maximum(state.totals.peak, choose(closes, cached + state.filled, zero)),
        token_seconds=state.totals.token_seconds
        + choose(closes, _token_seconds(state, first.duration, rise, steps), 0.0),
        status=choose(first.is_stalled, int(Status.STALLED), state.totals.status),
    )
    if bucket is not None:
        totals = count(kernel, totals, bucket, taken * n)
    return state._replace(
        is_live=state.is_live & ~first.is_stalled,
        work=choose(closes, work, state.work),
        now=choose(closes, now, state.now),
        pause=choose(closes & (n > 0), pause, 0.0),
        tick=state.tick + taken,
        cached=cached,
        step=step._replace(is_open=step.is_open & ~closes),
        totals=totals,
    )


def _first(kernel: Kernel, state: State) -> _End:
    """Take the step at hand."""
    step, n = state.step, state.decoding
    closes = step.is_open & ~may_admit(kernel, state).may
    is_idle = (n == 0) & (step.prefilled == 0) & ~step.has_evicted
    work = decode_steps(n, state.cached, jnp.ones_like(n))
    work = state.work + work._replace(
        prefilled=step.prefilled.astype(jnp.float64), half_pairs=step.half_pairs
    )
    now = state.origin + seconds(kernel.limits.cost, work)
    return _End(closes & ~is_idle, closes & is_idle, work, now, now - state.now)


def _more(
    kernel: Kernel,
    state: State,
    settled: Settled,
    first: _End,
    bucket: jax.Array | None,
    until: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """At most how many steps like it come after the step at hand, and before which time."""
    limits, step, n = kernel.limits, state.step, state.decoding
    is_alike = (step.prefilled == 0) & ~step.has_evicted & (n > 0) & first.closes

    blocks = (state.free.astype(jnp.float64) + 0.5) / jnp.maximum(n, 1).astype(jnp.float64)
    safe = jnp.floor(blocks) * limits.block_size.astype(jnp.float64)

    # Those that wait stay where they are until a request ends.
    waits = state.next.arrival <= state.now
    stop = jnp.minimum(until, choose(waits, jnp.inf, state.next.arrival))
    if state.waiting is not None:
        stop = jnp.minimum(stop, state.waiting.next_arrival)
    room = jnp.maximum(stop - first.now, 0.0)
    early = steps_before(limits.cost, n, state.cached + n, room) + 1.0
    early = choose(room > 0, early, 0.0)

    most = jnp.minimum(jnp.minimum(safe, early), jnp.float64(LONGEST_SKIP))
    if bucket is not None:
        edge = look_up(kernel.edges, bucket + 1)
        rise = limits.cost.d * n.astype(jnp.float64)
        most = jnp.minimum(most, (edge - first.duration) * (1.0 - 1e-9) / rise)
    most = jnp.minimum(most, (limits.max_steps - state.totals.steps - 1).astype(jnp.float64))
    most = jnp.maximum(most, 0.0).astype(jnp.int32)
    by_end = jnp.maximum(settled.first_end - state.tick - 1, 0)
    return choose(is_alike, jnp.minimum(most, by_end), 0), stop


def _skip(
    kernel: Kernel, state: State, first: _End, more: jax.Array, stop: jax.Array
) -> tuple[jax.Array, Work, jax.Array]:
    """Take them if the last one begins before ``stop``; by sums, as single steps would say."""
    n, cost = state.decoding, kernel.limits.cost
    before = first.work + decode_steps(n, state.cached + n, jnp.maximum(more - 1, 0))
    more = choose(state.origin + seconds(cost, before) < stop, more, 0)
    work = first.work + decode_steps(n, state.cached + n, more)
    return more, work, state.origin + seconds(cost, work)


def _token_seconds(
    state: State, duration: jax.Array, rise: jax.Array, steps: jax.Array
) -> jax.Array:
    """Tokens cached at the end of each step, times its length."""
    n, k = state.decoding.astype(jnp.float64), steps.astype(jnp.float64)
    tokens = (state.cached + state.decoding + state.filled).astype(jnp.float64)
    pairs = 0.5 * k * (k - 1.0)
    squares = pairs * (2.0 * k - 1.0) / 3.0
    return k * tokens * duration + (n * duration + tokens * rise) * pairs + n * rise * squares
