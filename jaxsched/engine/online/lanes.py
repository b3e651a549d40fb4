"""Reading and writing one row a stream, where every stream has a row of its own in mind.

Arrays are ``[rows B]``: rows of streams, flat, because the CPU compiler unrolls short inner loops
before it would vectorise them. Two ways to write: a loop over the streams, which is a handful of
instructions each inside one compiled CPU function, and a scatter, which is one call for all
streams everywhere else.

A program of its own may also serve each stream, on a GPU. There what is ``[B]`` elsewhere is a
scalar. Rows are a :class:`Memory`, of which single ones are loaded and stored, or slots of a vector
in the registers of the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import while_loop
from jaxsched.engine.offline.slots import take_rows

Writing = Literal["loop", "scatter", "store"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
    """Rows of the one stream that a program serves; a pytree without leaves.

    Stores happen where they are called, so that what is loaded afterwards is new.

    Attributes:
      ref: reference to the rows.
      fence: called after stores, for all lanes of the warp to see what one of them has stored.
    """

    ref: Any
    fence: Callable[[], None]


def choose(flag: jax.Array, yes: Any, no: Any) -> Any:
    """``jnp.where`` over pytrees, without the call that jax makes of it."""

    def leaf(yes: jax.Array, no: jax.Array) -> jax.Array:
        dtype = jnp.result_type(yes, no)
        shape = jnp.broadcast_shapes(flag.shape, jnp.shape(yes), jnp.shape(no))
        yes, no = (jnp.broadcast_to(jnp.asarray(x, dtype), shape) for x in (yes, no))
        return lax.select(jnp.broadcast_to(flag, shape), yes, no)

    return jax.tree.map(leaf, yes, no)


def any_of(flags: jax.Array) -> jax.Array:
    """Whether one of ``flags [B]`` holds, as a scalar."""
    return flags if flags.ndim == 0 else jnp.max(flags.astype(jnp.int32)) > 0


def across(
    combine: Callable[[jax.Array, jax.Array], jax.Array], block: jax.Array, num_streams: int
) -> jax.Array:
    """Combine the rows of a block, a power of two of them, flat, to ``[B]``.

    Halves at a time: a reduction of XLA's, fused with a look-up in a large array, would be handed
    to threads, which a compiled function of ours has not.
    """
    while block.shape[0] > num_streams:
        half = block.shape[0] // 2
        block = combine(block[:half], block[half:])
    return block


def num_rows(array: Any, lanes: jax.Array) -> int:
    """Rows of a flat array, given anything ``[B]``."""
    if isinstance(array, Memory):
        return array.ref.shape[0]
    return array.shape[0] // lanes.size


def take(array: Any, row: jax.Array) -> jax.Array:
    """``array[row[l], l]`` for every stream l, ``[B]``."""
    if isinstance(array, Memory):
        return array.ref[row]
    if row.ndim == 0:
        return jnp.sum(choose(_slots(array) == row, array, 0), dtype=array.dtype)
    return look_up(array, _flat(row))


def row_of(array: jax.Array, row: jax.Array, lanes: jax.Array) -> jax.Array:
    """One row of all streams, ``[B]``."""
    if lanes.ndim == 0:
        return take(array, row)
    return take_rows(array, row * lanes.shape[0], lanes.shape[0])


def look_up(array: Any, places: jax.Array) -> jax.Array:
    """``array[places]``, all of which there are."""
    if isinstance(array, Memory):
        return array.ref[places]
    return array.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)


def put(writing: Writing, here: jax.Array, *writes: tuple[Any, jax.Array, jax.Array]) -> list[Any]:
    """Each array with ``array[row[l], l] = value[l]`` for every stream l that is ``here``.

    Args:
      writing: how; the loop takes at most 32 streams.
      here: bool ``[B]``. Other streams may write, too, and therefore where it does no harm.
      writes: an array, rows ``[B]`` and values ``[B]`` each; no array twice.
    """
    if writing == "store":
        stored = [_stored(*write) for write in writes]
        for fence in {array.fence for array in stored if isinstance(array, Memory)}:
            fence()
        return stored
    places = [_flat(row) for _, row, _ in writes]
    if writing == "scatter":
        return [
            array.at[place].set(value, mode="promise_in_bounds", unique_indices=True)
            for (array, _, value), place in zip(writes, places, strict=True)
        ]

    def one_stream(carry: tuple[jax.Array, list[jax.Array]]) -> tuple[jax.Array, list[jax.Array]]:
        left, arrays = carry
        lowest = left & (~left + jnp.uint32(1))
        lane = lax.population_count(lowest - jnp.uint32(1)).astype(jnp.int32)

        def at_lane(array: jax.Array) -> jax.Array:
            return lax.dynamic_slice(array, (lane,), (1,), allow_negative_indices=False)

        written = [
            lax.dynamic_update_slice(
                array, at_lane(value), (at_lane(place)[0],), allow_negative_indices=False
            )
            for array, place, (_, _, value) in zip(arrays, places, writes, strict=True)
        ]
        return left ^ lowest, written

    lanes = lax.iota(jnp.uint32, here.shape[0])
    bits = choose(here, lax.shift_left(jnp.full_like(lanes, 1), lanes), jnp.uint32(0))
    carry = jnp.sum(bits, dtype=jnp.uint32), [array for array, _, _ in writes]
    return while_loop(lambda carry: carry[0] != 0, one_stream, carry)[1]


def once(one: jax.Array | None, compute: Callable[[], Any]) -> Any:
    """Return ``compute()``, computed at this place and once.

    XLA would copy the computation into everything that uses a result of it, ten times over in a
    step of this engine. A loop, of which XLA cannot know that it makes one turn, keeps it whole.

    Args:
      one: int32 ``[]``, 1, but no constant; None where another compiler is at work.
      compute: of arrays of the caller.
    """
    if one is None:
        return compute()
    shapes = jax.eval_shape(compute)
    start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    turns = jnp.zeros_like(one)
    return while_loop(
        lambda carry: carry[0] < one, lambda carry: (carry[0] + 1, compute()), (turns, start)
    )[1]


def _stored(array: Any, row: jax.Array, value: jax.Array) -> Any:
    if isinstance(array, Memory):
        array.ref[row] = value
        return array
    return choose(_slots(array) == row, value, array)


def _slots(vector: jax.Array) -> jax.Array:
    return lax.iota(jnp.int32, vector.shape[0])


def _flat(row: jax.Array) -> jax.Array:
    num_streams = row.shape[0]
    return row * num_streams + lax.iota(jnp.int32, num_streams)
