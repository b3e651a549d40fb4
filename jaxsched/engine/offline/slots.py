"""Rows of placed requests or segments, sorted by their ends, worked on block by block.

Every kernel keeps int32 ``[rows, fields, B]``: ends ascending, rows whose end never comes behind
them, and instances last, where they are contiguous.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

END = 0
NEVER = 2**31 - 1


class Block(NamedTuple):
    """Consecutive slots by their fields, of one instance or of many in further axes.

    In round t, if it is not after the end, ``held + count * t`` tokens are held.
    """

    end: jax.Array
    held: jax.Array
    count: jax.Array


def take_rows(array: jax.Array, begin: jax.Array, count: int) -> jax.Array:
    """``array[begin : begin + count]``."""
    zero = jnp.zeros_like(begin)
    start = (begin, *(zero,) * (array.ndim - 1))
    shape = count, *array.shape[1:]
    return lax.dynamic_slice(array, start, shape, allow_negative_indices=False)


def set_rows(array: jax.Array, begin: jax.Array, rows: jax.Array) -> jax.Array:
    """``array`` with ``rows`` from ``begin`` on."""
    zero = jnp.zeros_like(begin)
    start = (begin, *(zero,) * (array.ndim - 1))
    return lax.dynamic_update_slice(array, rows, start, allow_negative_indices=False)


def any_of(flags: jax.Array) -> jax.Array:
    """Whether one of ``flags [B]`` holds, as a scalar."""
    return jnp.max(flags.astype(jnp.int32)) > 0
