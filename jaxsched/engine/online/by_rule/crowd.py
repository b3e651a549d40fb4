"""Who is at the server, and the numbers that a dynamic rule gave them.

Arrays are ``[rows B]``, a row a request in order of arrival, in whole blocks of rows with one more
for nobody. Blocks are small inside one compiled function, which keeps them in registers; elsewhere
one block holds all, so that each operation is one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.offline.slots import take_rows
from jaxsched.engine.online.lanes import Writing, across, choose, put

AWAY, WAITS, RUNS = np.int32(0), np.int32(1), np.int32(2)
NOBODY = np.int32(2**31 - 1)
_BLOCK = 8  # rows, inside one compiled function


class RuleKind(NamedTuple):
    """What is compiled in of a dynamic rule.

    Attributes:
      structure: of the rule as a pytree, whose leaves are numbers.
      evicts: whether those that wait push out those that run.
      has_state: whether it keeps one.
    """

    structure: Any
    evicts: bool
    has_state: bool

    def rule(self, leaves: Any) -> Any:
        """Put the rule together, an :class:`~jaxsched.engine.contract.DynamicRule`."""
        return jax.tree.unflatten(self.structure, leaves)


class Seen(NamedTuple):
    """What a rule sees that does not change."""

    prompt_tokens: jax.Array  # int32
    output_tokens: jax.Array  # int32, predicted
    arrival: jax.Array  # float64 seconds
    priority: jax.Array  # float32
    client: jax.Array  # int32
    ttft_slo_s: jax.Array  # float32
    tpot_slo_s: jax.Array  # float32


class Crowd(NamedTuple):
    """The queue of a dynamic rule."""

    seen: Seen
    first_arrival: jax.Array  # float64 [B] seconds, from which rules count time
    kv_capacity: jax.Array  # int32 [B]
    leaves: tuple[jax.Array, ...]  # of the rule, [B, ...] each
    place: jax.Array  # int32: AWAY, WAITS or RUNS
    known: jax.Array  # int32 tokens, as of the last look
    computed: jax.Array  # int32 tokens, likewise
    number: jax.Array  # float64, lower first
    memory: Any  # the rule's state, [B, ...] each leaf
    first_block: jax.Array  # int32 [], nobody of an earlier one is at the server in any stream
    bar: jax.Array  # float64 [B], the least number of those pushed out in this step


def num_padded(n: int, writing: Writing) -> int:
    """Rows for ``n`` requests and nobody."""
    block = _BLOCK if writing == "loop" else 1 << n.bit_length()
    return -(-(n + 1) // block) * block


def rows_in_block(crowd: Crowd, writing: Writing) -> int:
    """Rows in a block."""
    rows = crowd.place.shape[0] // crowd.bar.shape[0]
    return _BLOCK if writing == "loop" else rows


def fold(
    crowd: Crowd,
    writing: Writing,
    upto: jax.Array,
    arrays: Any,
    step: Callable[[Any, jax.Array, Any], Any],
    start: Any,
) -> Any:
    """Carry values ``[rows of a block, B]``, flat, over the blocks in which somebody may be.

    Args:
      crowd: whose blocks.
      writing: says how large they are.
      upto: int32 ``[B]``, nobody of this row or a later one has arrived.
      arrays: a pytree of arrays ``[rows B]``.
      step: given the carry, the numbers of the rows and the rows of the arrays, returns the carry.
      start: a pytree of values ``[B]``, spread to the rows.

    Returns:
      The last carry.
    """
    num_streams = upto.shape[0]
    rows = rows_in_block(crowd, writing)
    width = rows * num_streams
    own_row = lax.div(lax.iota(jnp.int32, width), jnp.int32(num_streams))

    def over_block(block: jax.Array, carry: Any) -> Any:
        here = jax.tree.map(lambda array: take_rows(array, block * width, width), arrays)
        return step(carry, block * rows + own_row, here)

    first, last = blocks_between(crowd, writing, upto)
    return fori_loop(first, last, over_block, spread(start, rows))


def blocks_between(crowd: Crowd, writing: Writing, upto: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the first block of :func:`fold`, and the one behind the last."""
    rows = jnp.int32(rows_in_block(crowd, writing))
    return crowd.first_block, lax.div(jnp.max(upto) + rows - 1, rows)


def spread(lanes: Any, rows: int) -> Any:
    """``[B]`` to every row of a block, flat."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)).reshape(-1), lanes)


def lowest(values: jax.Array, num_streams: int) -> jax.Array:
    """Find the least of each stream's rows in a block."""
    return across(jnp.minimum, values, num_streams)


def first_in_line(crowd: Crowd, writing: Writing, upto: jax.Array, nobody: jax.Array) -> jax.Array:
    """Find who waits with the least (number, row), int32 ``[B]``; nobody if none does."""
    num_streams = upto.shape[0]

    def step(best: Any, row: jax.Array, fields: Any) -> Any:
        place, number = fields
        is_better = (place == WAITS) & ((number < best[0]) | (best[1] == NOBODY))
        return choose(is_better, (number, row), best)

    start = jnp.full(num_streams, jnp.inf), jnp.full(num_streams, NOBODY, jnp.int32)
    numbers, rows = fold(crowd, writing, upto, (crowd.place, crowd.number), step, start)
    least = lowest(numbers, num_streams)
    is_least = numbers == spread(least, numbers.shape[0] // num_streams)
    row = lowest(choose(is_least, rows, NOBODY), num_streams)
    return choose(row == NOBODY, nobody, row)


def move(crowd: Crowd, writing: Writing, request: jax.Array, here: jax.Array, place: Any) -> Crowd:
    """Note where ``request [B]`` is now, where ``here [B]``; elsewhere it is nobody."""
    (places,) = put(writing, here, (crowd.place, request, choose(here, place, AWAY)))
    return crowd._replace(place=places)


def evict(
    crowd: Crowd,
    writing: Writing,
    request: jax.Array,
    here: jax.Array,
    known: jax.Array,
    computed: jax.Array,
) -> Crowd:
    """Let ``request [B]`` wait again, with these tokens known and computed."""
    places, knowns, computeds = put(
        writing,
        here,
        (crowd.place, request, choose(here, WAITS, AWAY)),
        (crowd.known, request, known),
        (crowd.computed, request, computed),
    )
    return crowd._replace(place=places, known=knowns, computed=computeds)


def without_the_gone(crowd: Crowd, writing: Writing, upto: jax.Array) -> Crowd:
    """Leave out blocks of which everybody has left, in every stream."""
    rows = rows_in_block(crowd, writing)
    width = rows * upto.shape[0]
    whole = lax.div(jnp.min(upto), jnp.int32(rows))

    def is_left(block: jax.Array) -> jax.Array:
        here = take_rows(crowd.place, jnp.minimum(block, whole) * width, width)
        return (block < whole) & (jnp.max(here) == AWAY)

    first = while_loop(is_left, lambda block: block + 1, crowd.first_block)
    return crowd._replace(first_block=first)


def nobody_is_there(
    seen: Seen,
    first_arrival: jax.Array,
    kv_capacity: jax.Array,
    leaves: tuple[jax.Array, ...],
) -> Crowd:
    """Before anybody has arrived; what is seen in rows as :func:`num_padded` says."""
    zero = jnp.zeros_like(seen.prompt_tokens)
    lanes = jnp.zeros(kv_capacity.shape, jnp.float64)
    number = jnp.zeros(zero.shape, jnp.float64)
    return Crowd(
        seen,
        first_arrival,
        kv_capacity,
        leaves,
        place=zero,
        known=seen.prompt_tokens,
        computed=zero,
        number=number,
        memory=None,
        first_block=jnp.int32(0),
        bar=lanes,
    )
