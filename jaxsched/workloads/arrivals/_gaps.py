"""Gaps of mean 1 with a stated coefficient of variation; for 64-bit mode.

Random bits are drawn in 32: draws of 64 do not lower inside the jit of a caller who is in 32-bit
mode. Sums and powers of them have 64.
"""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import gammaln

GapLaw = Literal["gamma", "weibull"]

_BISECTIONS = 60
_WIDEST_LOG = 5.0  # of 1 / k: coefficients of variation from below 0.01 to above 1000


def exponential(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw standard exponential numbers, float64."""
    return jax.random.exponential(key, shape, jnp.float32).astype(jnp.float64)


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw uniform numbers from 0 up to 1, float64."""
    return jax.random.uniform(key, shape, jnp.float32).astype(jnp.float64)


def gamma(key: jax.Array, alpha: jax.Array) -> jax.Array:
    """Draw gamma numbers of the given shapes, float64; by their logarithm, so that few are 0."""
    log = jax.random.loggamma(key, alpha.astype(jnp.float32), dtype=jnp.float32)
    return jnp.exp(log.astype(jnp.float64))


@functools.partial(jax.jit, static_argnames="law")
def shape_of(law: GapLaw, cv: jax.Array) -> jax.Array:
    r"""Find the shape of a law that has this coefficient of variation.

    A gamma law has :math:`1 / cv^2`. A Weibull law has the :math:`k` that solves
    :math:`\Gamma(1 + 2/k) = (1 + cv^2)\, \Gamma(1 + 1/k)^2`, by bisection.
    """
    if law == "gamma":
        return cv**-2
    goal = jnp.log1p(cv**2)

    def halved(_: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        inverse = jnp.exp(middle)
        is_low = gammaln(1 + 2 * inverse) - 2 * gammaln(1 + inverse) < goal
        return jnp.where(is_low, middle, low), jnp.where(is_low, high, middle)

    ends = jnp.full_like(cv, -_WIDEST_LOG), jnp.full_like(cv, _WIDEST_LOG)
    low, high = lax.fori_loop(jnp.int32(0), jnp.int32(_BISECTIONS), halved, ends)
    return jnp.exp(-(low + high) / 2)


def unit_gaps(law: GapLaw, key: jax.Array, shape: jax.Array) -> jax.Array:
    """Draw gaps of mean 1, one for each shape given."""
    if law == "gamma":
        return gamma(key, shape) / shape
    return (exponential(key, shape.shape) ** (1 / shape)) / jnp.exp(gammaln(1 + 1 / shape))


def unit_residuals(law: GapLaw, key: jax.Array, shape: jax.Array) -> jax.Array:
    """Draw the time to the next arrival, of processes that have always run, in mean gaps.

    A gap that covers a given moment is drawn in proportion to its length, and the moment lies
    anywhere in it. Weighted by its length, a gamma gap is a gamma one of shape + 1, and the k-th
    power of a Weibull gap is a gamma number of shape 1 + 1/k.
    """
    gap_key, moment_key = jax.random.split(key)
    if law == "gamma":
        covering = gamma(gap_key, shape + 1) / shape
    else:
        inverse = 1 / shape
        covering = gamma(gap_key, 1 + inverse) ** inverse / jnp.exp(gammaln(1 + inverse))
    return uniform(moment_key, shape.shape) * covering
