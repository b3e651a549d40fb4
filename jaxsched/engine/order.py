"""Serving order: requests by ascending priority, ties by index.

Three sorts with one meaning. XLA on CPU sorts pairs thirty times slower than it sorts single
integers, so inside a program each key is split into 16-bit digits that travel with their
position in one 32-bit word. On a GPU a stable sort of pairs is one kernel instead of seven. On the
host numpy sorts (key, index) as one 64-bit word.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched._lib.loops import varying

_MAX_POSITIONS = 1 << 16
_SIGN, _LONG_SIGN = np.uint32(1 << 31), np.uint64(1 << 63)


def serving_order(priority: jax.Array) -> jax.Array:
    """Request indices ``[.., n]`` in serving order, int32; traceable."""
    if priority.dtype.itemsize > 4 or priority.shape[-1] > _MAX_POSITIONS:
        return order_by_pairs(priority)
    return lax.platform_dependent(
        priority, cuda=order_by_pairs, rocm=order_by_pairs, default=order_by_digits
    )


def order_by_pairs(priority: jax.Array) -> jax.Array:
    """Sort each key with its index."""
    key = ascending_bits(priority)
    return varying(jnp.argsort(key, axis=-1, stable=True).astype(jnp.int32))


def order_by_digits(priority: jax.Array) -> jax.Array:
    """Sort 16-bit digits, the lower first; for keys of 32 bits and at most 65,536 of them."""
    key = ascending_bits(priority)
    low = _stable_positions(key & 0xFFFF)
    high = _stable_positions(jnp.take_along_axis(key, low, axis=-1) >> 16)
    return jnp.take_along_axis(low, high, axis=-1).astype(jnp.int32)


def _stable_positions(digit: jax.Array) -> jax.Array:
    """Positions that sort 16-bit digits stably, uint32 ``[.., n]``."""
    position = lax.broadcasted_iota(jnp.uint32, digit.shape, digit.ndim - 1)
    return lax.sort((digit << 16) | position, is_stable=False) & 0xFFFF


def ascending_bits(priority: jax.Array) -> jax.Array:
    """Priorities as unsigned integers in the same order, equal where they are equal.

    Compared as floats, XLA on CPU would take the smallest numbers for zeros.
    """
    if priority.dtype.itemsize > 4:
        return _ascending_long_bits(priority)
    if jnp.issubdtype(priority.dtype, jnp.unsignedinteger):
        return priority.astype(jnp.uint32)
    if jnp.issubdtype(priority.dtype, jnp.integer):
        return lax.bitcast_convert_type(priority.astype(jnp.int32), jnp.uint32) ^ _SIGN
    bits = lax.bitcast_convert_type(priority.astype(jnp.float32), jnp.uint32)
    # -0.0 ties with 0.0.
    bits = jnp.where(bits == _SIGN, jnp.zeros_like(bits), bits)
    return jnp.where(bits >> 31 == 1, ~bits, bits | _SIGN)


def _ascending_long_bits(priority: jax.Array) -> jax.Array:
    """Do the same for 64 bits, of which integers have an order already."""
    if jnp.issubdtype(priority.dtype, jnp.integer):
        return priority
    bits = lax.bitcast_convert_type(priority, jnp.uint64)
    bits = jnp.where(bits == _LONG_SIGN, jnp.zeros_like(bits), bits)
    return jnp.where(bits >> 63 == 1, ~bits, bits | _LONG_SIGN)


def serving_order_on_host(priority: np.ndarray) -> np.ndarray:
    """Compute what :func:`serving_order` does, by numpy."""
    if priority.dtype.itemsize > 4:
        return np.argsort(priority, axis=-1, kind="stable").astype(np.int32)
    # The index fills the low half and breaks ties, so an unstable sort (the fast one) will do.
    pair = _ascending_bits_on_host(priority).astype(np.uint64) << np.uint64(32)
    pair |= np.arange(priority.shape[-1], dtype=np.uint64)
    pair.sort(axis=-1)
    return pair.astype(np.uint32).view(np.int32)


def _ascending_bits_on_host(priority: np.ndarray) -> np.ndarray:
    if priority.dtype.kind == "u":
        return priority.astype(np.uint32)
    if priority.dtype.kind == "i":
        return priority.astype(np.int32).view(np.uint32) ^ _SIGN
    value = priority.astype(np.float32)
    value = np.where(value == 0, np.float32(0), value)
    bits = value.view(np.uint32)
    return np.where(bits >> np.uint32(31) == 1, ~bits, bits | _SIGN)
