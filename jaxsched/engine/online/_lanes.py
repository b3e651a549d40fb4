"""Reading and writing one row a stream, where every stream has a row of its own in mind.

Arrays are ``[rows B]``, rows of streams in the lanes, flat. Two ways to write: a loop over the streams, which
is a handful of instructions a stream inside one compiled CPU kernel, and a scatter, which is one
call for all streams everywhere else.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

Writing = Literal["loop", "scatter"]


def choose(flag: jax.Array, yes: Any, no: Any) -> Any:
    """``jnp.where`` over pytrees, without the call that jax makes of it."""

    def leaf(yes: jax.Array, no: jax.Array) -> jax.Array:
        dtype = jnp.result_type(yes, no)
        shape = jnp.broadcast_shapes(flag.shape, jnp.shape(yes), jnp.shape(no))
        yes, no = (jnp.broadcast_to(jnp.asarray(x, dtype), shape) for x in (yes, no))
        return lax.select(jnp.broadcast_to(flag, shape), yes, no)

    return jax.tree.map(leaf, yes, no)


def take(array: jax.Array, row: jax.Array) -> jax.Array:
    """``array[row[l], l]`` for every stream l, ``[B]``; the array is flat, ``[rows B]``."""
    return array.at[_flat(row)].get(mode="promise_in_bounds")


def put(
    arrays: tuple[jax.Array, ...],
    rows: tuple[jax.Array, ...],
    values: tuple[jax.Array, ...],
    writing: Writing,
) -> tuple[jax.Array, ...]:
    """Each of ``arrays`` with ``array[row[l], l] = value[l]`` for every stream l."""
    places = tuple(_flat(row) for row in rows)
    if writing == "scatter":
        return tuple(
            array.at[place].set(value, mode="promise_in_bounds", unique_indices=True)
            for array, place, value in zip(arrays, places, values, strict=True)
        )

    def one_stream(lane: jax.Array, arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        def at_lane(array: jax.Array) -> jax.Array:
            return lax.dynamic_slice(array, (lane,), (1,))

        return tuple(
            lax.dynamic_update_slice(array, at_lane(value), (at_lane(place)[0],))
            for array, place, value in zip(arrays, places, values, strict=True)
        )

    num_streams = rows[0].shape[0]
    return lax.fori_loop(jnp.int32(0), jnp.int32(num_streams), one_stream, arrays)


def _flat(row: jax.Array) -> jax.Array:
    num_streams = row.shape[0]
    return row * num_streams + lax.iota(jnp.int32, num_streams)


def any_of(flags: jax.Array) -> jax.Array:
    """Whether one of ``flags [B]`` holds, as a scalar."""
    return jnp.max(flags.astype(jnp.int32)) > 0
