"""The exact order of volumes up to 2^62, by 32-bit integers alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import while_loop


def exact_volume_priority(prompt_tokens: jax.Array, output_tokens: jax.Array) -> jax.Array:
    r"""Order requests by integer volume, exactly.

    Twice the volume is one product, :math:`2v = o\,(2s + o + 1)`, and since :math:`s + o < 2^{31}`
    both factors fit 32 bits.

    Args:
      prompt_tokens: int32 ``[n]``, :math:`s`.
      output_tokens: int32 ``[n]``, :math:`o`, with :math:`s + o < 2^{31}`.

    Returns:
      int32 ``[n]``: the volumes, or their dense ranks if any of them is :math:`2^{31}` or more.
    """
    output = output_tokens.astype(jnp.uint32)
    high, low = _wide_product(output, 2 * prompt_tokens.astype(jnp.uint32) + output + 1)
    # A sort costs a hundred times the rest and is seldom needed. The condition is a loop because
    # vmap would turn lax.cond into both branches; a loop that no instance enters costs nothing.
    # The sorted limbs must be the loop's own state, or XLA hoists the sort out of it.
    _, low = while_loop(
        lambda limbs: jnp.any(limbs[0] > 0),
        lambda limbs: (jnp.zeros_like(limbs[0]), 2 * _dense_ranks(*limbs)),
        (high, low),
    )
    return (low >> 1).astype(jnp.int32)


def _wide_product(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """High and low 32 bits of the product of two uint32, by its four 16-bit products."""
    a_high, a_low = a >> 16, a & 0xFFFF
    b_high, b_low = b >> 16, b & 0xFFFF
    upper = a_high * b_low + ((a_low * b_low) >> 16)
    lower = a_low * b_high + (upper & 0xFFFF)
    return a_high * b_high + (upper >> 16) + (lower >> 16), a * b


def _dense_ranks(high: jax.Array, low: jax.Array) -> jax.Array:
    """Rank of each 64-bit number among the distinct ones, uint32 ``[n]``."""
    index = lax.iota(jnp.int32, high.shape[0])
    high, low, order = lax.sort((high, low, index), num_keys=2)
    is_larger = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    rank = jnp.concatenate([jnp.zeros(1, jnp.uint32), jnp.cumsum(is_larger, dtype=jnp.uint32)])
    return jnp.zeros_like(rank).at[order].set(rank, unique_indices=True)
