"""Slots of placed requests, sorted by their ends, worked on block by block.

Every kernel keeps int32 ``[K + 1, fields, B]``: K slots with ends ascending, a sentinel row
behind them whose end never comes, and instances last, where they are contiguous.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

END = 0
_NEVER = 2**31 - 1


def empty_slots(shape: tuple[int, ...], rows: int, fields: int) -> jax.Array:
    """Slots for ``shape = [n, B]`` requests in blocks of ``rows``, all ended at round 0."""
    num_requests, num_instances = shape
    num_slots = -(-num_requests // rows) * rows
    full = (num_slots + 1, fields, num_instances)
    is_sentinel = lax.broadcasted_iota(jnp.int32, full, 0) == num_slots
    is_end = lax.broadcasted_iota(jnp.int32, full, 1) == END
    return jnp.where(is_sentinel & is_end, _NEVER, 0).astype(jnp.int32)


def take_rows(array: jax.Array, begin: jax.Array, count: int) -> jax.Array:
    """``array[begin : begin + count]``."""
    zero = jnp.zeros_like(begin)
    start = (begin, *(zero,) * (array.ndim - 1))
    return lax.dynamic_slice(array, start, (count, *array.shape[1:]))


def set_rows(array: jax.Array, begin: jax.Array, rows: jax.Array) -> jax.Array:
    """``array`` with ``rows`` from ``begin`` on."""
    zero = jnp.zeros_like(begin)
    return lax.dynamic_update_slice(array, rows, (begin, *(zero,) * (array.ndim - 1)))


def any_of(flags: jax.Array) -> jax.Array:
    """Whether one of ``flags [B]`` holds, as a scalar."""
    return jnp.max(flags.astype(jnp.int32)) > 0
