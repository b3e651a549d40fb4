"""Sums over who goes before whom, in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_ROWS_PER_BLOCK = 128


def by_rows(function: Callable[[Any], jax.Array], rows: Any) -> jax.Array:
    """Map over rows in blocks, whose inner values are formed again on the way back."""
    return lax.map(jax.checkpoint(function), rows, batch_size=_ROWS_PER_BLOCK)


@jax.custom_vjp
def soft_sums(score: jax.Array, weight: jax.Array) -> jax.Array:
    r"""Sum weights over those before each request, :math:`\sum_j \sigma(z_i - z_j)\, w_j`.

    Args:
      score: float32 ``[n]``, in units of the temperature.
      weight: float32 ``[n]``; 0 for padding.

    Returns:
      float32 ``[n]``.
    """
    return by_rows(lambda own: jnp.sum(jax.nn.sigmoid(own - score) * weight), score)


def _forward(score: jax.Array, weight: jax.Array) -> tuple[jax.Array, Any]:
    return soft_sums(score, weight), (score, weight)


def _backward(kept: Any, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    # The slope of a sigmoid is even, so that one block serves both as rows and as columns.
    score, weight = kept

    def row(own: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        own_score, own_weight, own_slope = own
        is_before = jax.nn.sigmoid(own_score - score)
        steepness = is_before * (1 - is_before)
        into_score = jnp.sum(steepness * (own_slope * weight - slope * own_weight))
        return into_score, jnp.sum((1 - is_before) * slope)

    return lax.map(row, (score, weight, slope), batch_size=_ROWS_PER_BLOCK)


soft_sums.defvjp(_forward, _backward)
