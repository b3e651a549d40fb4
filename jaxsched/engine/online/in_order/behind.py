"""Those that run, by the numbers of a dynamic rule: who is last, and what they hold."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.online.by_rule.crowd import Crowd
from jaxsched.engine.online.in_order.rows import NONE, ROWS, Rows, fold, spread, total
from jaxsched.engine.online.in_order.state import State
from jaxsched.engine.online.lanes import across, choose, look_up


class Behind(NamedTuple):
    """Some of those that run, int32 ``[B]``."""

    count: jax.Array
    held: jax.Array  # blocks
    row: jax.Array  # of the largest (number, arrival), the first of equals; NONE for nobody


def behind(state: State, crowd: Crowd, number: jax.Array | None = None) -> Behind:
    """See who runs; with ``number`` float64 ``[B]``, who of them has a larger one."""
    lanes = state.count
    num_streams = lanes.shape[0]
    lane = lax.rem(lax.iota(jnp.int32, ROWS * num_streams), jnp.int32(num_streams))

    def step(carry: Any, row: jax.Array, rows: Rows) -> Any:
        count, held, best = carry
        place = rows.request * num_streams + lane
        own = look_up(crowd.number, place), look_up(crowd.seen.arrival, place), -row
        counts = rows.is_taken > 0
        if number is not None:
            counts &= own[0] > spread(number)
        is_worse = _is_larger(own, best) | (best[2] == -NONE)
        return (
            count + counts.astype(jnp.int32),
            held + choose(counts, rows.held, 0),
            choose(counts & is_worse, own, best),
        )

    zero = spread(jnp.zeros_like(lanes))
    least = spread(jnp.full(num_streams, -jnp.inf, jnp.float64))
    start = zero, zero, (least, least, zero - NONE)
    count, held, best = fold(state.rows, state.num_blocks, step, start)
    return Behind(total(count), total(held), -_largest(best, num_streams))


def _is_larger(one: Any, other: Any) -> jax.Array:
    """Compare triples, first things first."""
    is_equal = one[0] == other[0]
    is_first = one[1] == other[1]
    by_rest = choose(is_first, one[2] > other[2], one[1] > other[1])
    return choose(is_equal, by_rest, one[0] > other[0])


def _largest(best: Any, num_streams: int) -> jax.Array:
    """Find the last part of the largest triple among each stream's rows, ``[B]``."""
    numbers, arrivals, rows = best
    counts = rows > -NONE

    def most(values: jax.Array, among: jax.Array, nothing: Any) -> tuple[jax.Array, jax.Array]:
        values = choose(among, values, nothing)
        top = across(jnp.maximum, values, num_streams)
        return top, among & (values == spread(top))

    _, counts = most(numbers, counts, -jnp.inf)
    _, counts = most(arrivals, counts, -jnp.inf)
    return most(rows, counts, -NONE)[0]
