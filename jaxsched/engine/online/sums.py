r"""Time as exact integer sums.

A step that prefills P tokens, decodes B requests over KV cached tokens and attends A token pairs
takes :math:`a + b P + c B + d KV + e A` seconds. Since the server last stood idle, at
:math:`t_0`, the clock therefore shows

.. math:: t_0 + a \sum 1 + b \sum P + c \sum B + d \sum KV + e \sum A,

whose sums are integers (A is counted in halves). Up to 2^53 they are exact in float64, which
processors multiply faster than int64, so one jump over k steps and k single steps show the same
time to the bit, errors do not grow with the number of
steps, and a clock of whole numbers stays exact. Adding up durations in float64, as an engine
would, differs by rounding alone: a relative 1e-15 or so a thousand steps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cost(NamedTuple):
    """Seconds, float64 ``[B]``."""

    a: jax.Array
    b: jax.Array
    c: jax.Array
    d: jax.Array
    e: jax.Array
    swap: jax.Array  # for a token swapped out or in


class Work(NamedTuple):
    """What steps have done, integers in float64 ``[B]``."""

    steps: jax.Array
    prefilled: jax.Array  # P
    decoded: jax.Array  # B
    cached: jax.Array  # KV
    half_pairs: jax.Array  # 2 A
    swapped: jax.Array

    def __add__(self, other: Work) -> Work:  # type: ignore[override]
        return Work(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def no_work(lanes: jax.Array) -> Work:
    """Make the work of no step; ``lanes`` is anything ``[B]``."""
    zero = jnp.zeros_like(lanes, jnp.float64)
    return Work(zero, zero, zero, zero, zero, zero)


def seconds(cost: Cost, work: Work) -> jax.Array:
    """Time that ``work`` takes, float64 ``[B]``."""
    steps, prefilled, decoded, cached, half_pairs, swapped = work
    linear = cost.a * steps + cost.b * prefilled + cost.c * decoded + cost.d * cached
    return linear + (0.5 * cost.e) * half_pairs + cost.swap * swapped


def decode_steps(decoding: jax.Array, cached: jax.Array, count: jax.Array) -> Work:
    """Work of ``count`` steps in which ``decoding`` requests store a token each.

    Args:
      decoding: int32 ``[B]``.
      cached: int32 ``[B]``, tokens they have cached before the first of the steps.
      count: int32 ``[B]``.
    """
    decoding, cached, count = (x.astype(jnp.float64) for x in (decoding, cached, count))
    zero = jnp.zeros_like(count)
    growth = decoding * (0.5 * (count * (count - 1.0)))
    return Work(count, zero, count * decoding, count * cached + growth, zero, zero)


def steps_before(
    cost: Cost, decoding: jax.Array, cached: jax.Array, duration: jax.Array
) -> jax.Array:
    """How many decode steps surely end before ``duration`` seconds are over, float64 ``[B]``.

    The k-th of them ends at :math:`k (a + c B + d KV) + d B k (k - 1) / 2`. The root of the
    quadratic, less a billionth of it: a smaller number is always right, only less quick.
    """
    n = decoding.astype(jnp.float64)
    half = 0.5 * cost.d * n
    slope = cost.a + cost.c * n + cost.d * cached.astype(jnp.float64) - half
    root = jnp.sqrt(slope * slope + 4.0 * half * duration)
    return 2.0 * duration / (slope + root) * (1.0 - 1e-9)
