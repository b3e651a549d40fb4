"""Who is next in line: first come first served, or by rank.

``order [(n + 1) B]`` holds requests. In front of ``head`` lie those admitted, the latest of them
at ``head - 1``; behind it, first come first served, those that wait or are yet to arrive. An
evicted one goes to the place in front of ``head``, which then moves there: it is the first again.

By rank, those that wait are the bits set in a tree of words: bit r says that the request of rank r
waits, and a bit of a higher level that one of 32 words below is not zero. The tree has one level
for each factor 32 in n, so that insertion, removal and the search for the least take as many steps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import while_loop
from jaxsched.engine.online.lanes import Writing, any_of, choose, num_rows, put, take

_BITS = 5  # 32 to a word


class Waiting(NamedTuple):
    """By rank only."""

    rank: jax.Array  # int32 [(n + 1) B], of each request
    ranked: jax.Array  # int32 [(n + 1) B], the request of each rank
    arrivals: jax.Array  # int32 [(n + 1) B], requests not refused, by arrival; then nobody
    levels: tuple[jax.Array, ...]  # uint32 [(words + 1) B] each; the last word takes no writes
    arrived: jax.Array  # int32 [B]
    next_arrival: jax.Array  # float64 [B], of the first that has not arrived


def nobody_waits(
    rank: jax.Array, ranked: jax.Array, arrivals: jax.Array, arrival: jax.Array, lanes: jax.Array
) -> Waiting:
    """Before anybody has arrived."""
    num_streams = lanes.shape[0]
    words, levels = num_rows(rank, lanes), []
    while words > 1:
        words = -(-words // 2**_BITS)
        levels.append(jnp.zeros((words + 1) * num_streams, jnp.uint32))
    zero = jnp.zeros(num_streams, jnp.int32)
    first = take(arrival, take(arrivals, zero))
    return Waiting(rank, ranked, arrivals, tuple(levels), zero, first)


def set_bit(waiting: Waiting, request: jax.Array, here: jax.Array, writing: Writing) -> Waiting:
    """Let ``request [B]`` wait where ``here [B]``."""
    rank = take(waiting.rank, request)
    levels = []
    for depth, level in enumerate(waiting.levels):
        word, bit = _place(level, rank, depth, here)
        (level,) = put(writing, here, (level, word, take(level, word) | bit))
        levels.append(level)
    return waiting._replace(levels=tuple(levels))


def clear_bit(waiting: Waiting, request: jax.Array, here: jax.Array, writing: Writing) -> Waiting:
    """Let ``request [B]`` no longer wait where ``here [B]``."""
    rank = take(waiting.rank, request)
    levels = []
    for depth, level in enumerate(waiting.levels):
        word, bit = _place(level, rank, depth, here)
        rest = take(level, word) & ~bit
        (level,) = put(writing, here, (level, word, rest))
        levels.append(level)
        here = here & (rest == 0)
    return waiting._replace(levels=tuple(levels))


def least(waiting: Waiting, lanes: jax.Array) -> jax.Array:
    """Find the request of least rank that waits, int32 ``[B]``; nobody if none does."""
    nobody = jnp.full_like(lanes, num_rows(waiting.rank, lanes) - 1)
    place = jnp.zeros_like(nobody)
    for level in reversed(waiting.levels):
        word = take(level, place)
        lowest = (word & (~word + jnp.uint32(1))) - jnp.uint32(1)
        is_none = word == 0
        bit = lax.population_count(lowest).astype(jnp.int32)
        place = (place << _BITS) + choose(is_none, 0, bit)
    return choose(is_none, nobody, take(waiting.ranked, choose(is_none, 0, place)))


def arrive(
    waiting: Waiting, arrival: jax.Array, now: jax.Array, here: jax.Array, writing: Writing
) -> Waiting:
    """Let all wait that have arrived by ``now [B]``, where ``here [B]``."""

    def due(waiting: Waiting) -> jax.Array:
        return here & (waiting.next_arrival <= now)

    def one(waiting: Waiting) -> Waiting:
        joins = due(waiting)
        waiting = set_bit(waiting, take(waiting.arrivals, waiting.arrived), joins, writing)
        arrived = waiting.arrived + joins.astype(jnp.int32)
        following = take(arrival, take(waiting.arrivals, arrived))
        return waiting._replace(arrived=arrived, next_arrival=following)

    return while_loop(lambda waiting: any_of(due(waiting)), one, waiting)


def _place(
    level: jax.Array, rank: jax.Array, depth: int, here: jax.Array
) -> tuple[jax.Array, jax.Array]:
    last = num_rows(level, rank) - 1
    word = choose(here, rank >> (_BITS * (depth + 1)), last)
    bit = (rank >> (_BITS * depth)) & (2**_BITS - 1)
    return word, jnp.uint32(1) << bit.astype(jnp.uint32)
