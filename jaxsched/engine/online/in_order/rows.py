"""Rows of the running requests, in order of admission, ``[(rows + 1) B]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.offline.slots import set_rows, take_rows
from jaxsched.engine.online.lanes import across, any_of, choose

ROWS = 8  # in a block
NONE = 2**31 - 1


class Rows(NamedTuple):
    """One row a running request; the last row takes the writes of streams without any."""

    is_taken: jax.Array  # int32, 0 or 1; all others int32 unless it says otherwise
    request: jax.Array
    known: jax.Array  # prompt and generated tokens
    computed: jax.Array  # tokens cached before this step
    held: jax.Array  # blocks
    is_filling: jax.Array  # 0 or 1
    granted: jax.Array  # tokens in this step
    gives: jax.Array  # 0 or 1, whether this step gives an output token
    last: jax.Array  # known tokens with which it ends
    believed: jax.Array  # prompt and predicted output
    tier: jax.Array
    preemptions: jax.Array
    first_token: jax.Array  # float64, as the next three
    last_token: jax.Array
    max_itl: jax.Array
    itl: jax.Array  # time since the last token where this step gives one, else -1


def no_rows(num_slots: int, num_streams: int) -> Rows:
    """Make rows in which nobody runs."""
    shape = ((-(-num_slots // ROWS) * ROWS + 1) * num_streams,)
    zero = jnp.zeros(shape, jnp.int32)
    none = jnp.full(shape, jnp.nan, jnp.float64)
    times = jnp.zeros(shape, jnp.float64)
    filled: tuple[Any, ...] = (*[zero] * 12, none, none, times, times)
    return Rows(*filled)


def without_grants(rows: Rows, num_blocks: jax.Array, lanes: jax.Array) -> Rows:
    """``rows`` of which none has been granted a token."""
    width = ROWS * lanes.shape[0]
    none = jnp.zeros(width, jnp.int32)
    granted = fori_loop(
        jnp.int32(0),
        num_blocks,
        lambda block, granted: set_rows(granted, block * width, none),
        rows.granted,
    )
    return rows._replace(granted=granted)


def with_row(array: jax.Array, row: jax.Array, values: jax.Array) -> jax.Array:
    """``array`` with one row of all streams set."""
    return set_rows(array, row * values.shape[0], values)


def spread(lanes: jax.Array) -> jax.Array:
    """``[B]`` to every row of a block, ``[ROWS B]``."""
    return jnp.broadcast_to(lanes, (ROWS, *lanes.shape)).reshape(-1)


def fold(
    arrays: Any, num_blocks: jax.Array, step: Callable[[Any, jax.Array, Any], Any], start: Any
) -> Any:
    """Carry values ``[ROWS B]`` over the blocks of rows.

    Args:
      arrays: a pytree of arrays ``[(rows + 1) B]``.
      num_blocks: how many blocks.
      step: given the carry, the numbers of the rows and the rows of the arrays, ``[ROWS B]``
        each, returns the carry.
      start: a pytree of ``[ROWS B]``.

    Returns:
      The last carry.
    """
    width = jax.tree.leaves(start)[0].shape[0]
    own_row = lax.div(lax.iota(jnp.int32, width), jnp.int32(width // ROWS))

    def over_block(block: jax.Array, carry: Any) -> Any:
        rows = jax.tree.map(lambda array: take_rows(array, block * width, width), arrays)
        return step(carry, block * ROWS + own_row, rows)

    return fori_loop(jnp.int32(0), num_blocks, over_block, start)


def total(values: jax.Array) -> jax.Array:
    """Add up each stream's rows in a block, ``[ROWS B]`` to ``[B]``."""
    return across(jnp.add, values, values.shape[0] // ROWS)


def first_where(
    arrays: Any, num_blocks: jax.Array, lanes: jax.Array, holds: Callable[[Any], jax.Array]
) -> jax.Array:
    """Find the first row whose fields satisfy ``holds``, int32 ``[B]``, or :data:`NONE`."""

    def step(first: jax.Array, row: jax.Array, fields: Any) -> jax.Array:
        return jnp.minimum(first, choose(holds(fields), row, NONE))

    start = jnp.full(ROWS * lanes.shape[0], NONE, jnp.int32)
    return across(jnp.minimum, fold(arrays, num_blocks, step, start), lanes.shape[0])


def best_row(
    key: Callable[[Any, jax.Array], jax.Array], arrays: Any, num_blocks: jax.Array, lanes: jax.Array
) -> jax.Array:
    """Find the first of the rows with the largest key, int32 ``[B]``."""

    def step(best: tuple[jax.Array, jax.Array], row: jax.Array, fields: Any) -> Any:
        keys = key(fields, row)
        return choose(keys > best[0], (keys, row), best)

    start = jnp.full(ROWS * lanes.shape[0], -NONE, jnp.int32)
    most, rows = fold(arrays, num_blocks, step, (start, 0 * start))
    top = spread(across(jnp.maximum, most, lanes.shape[0]))
    return across(jnp.minimum, choose(most == top, rows, NONE), lanes.shape[0])


def close_up(rows: Rows, count: jax.Array) -> tuple[Rows, jax.Array]:
    """Let rows move down over those that are free, their order kept.

    Args:
      rows: of B streams.
      count: int32 ``[B]``, rows in use, free ones between them included.

    Returns:
      The rows, and how many they are.
    """
    num_streams = count.shape[0]
    width = ROWS * num_streams
    own_row = lax.div(lax.iota(jnp.int32, width), jnp.int32(num_streams))

    def gap(rows: Rows, count: jax.Array) -> jax.Array:
        first = first_where(rows.is_taken, blocks_for(count), count, lambda taken: taken == 0)
        return choose(first < count, first, NONE)

    def close_first(carry: tuple[Rows, jax.Array, jax.Array]) -> Any:
        rows, count, first = carry
        first_rows = spread(first)

        def over_block(block: jax.Array, rows: Rows) -> Rows:
            moves = block * ROWS + own_row >= first_rows

            def shifted(array: jax.Array) -> jax.Array:
                begin = block * width
                window = take_rows(array, begin, width + num_streams)
                here, above = window[:width], window[num_streams:]
                return set_rows(array, begin, choose(moves, above, here))

            return jax.tree.map(shifted, rows)

        rows = fori_loop(jnp.int32(0), blocks_for(count), over_block, rows)
        count = count - (first < NONE).astype(jnp.int32)
        return rows, count, gap(rows, count)

    rows, count, _ = while_loop(
        lambda carry: any_of(carry[2] < NONE), close_first, (rows, count, gap(rows, count))
    )
    return rows, count


def blocks_for(count: jax.Array) -> jax.Array:
    """Blocks that hold ``count [B]`` rows in every stream, int32 ``[]``."""
    return lax.div(jnp.max(count) + (ROWS - 1), jnp.int32(ROWS))
