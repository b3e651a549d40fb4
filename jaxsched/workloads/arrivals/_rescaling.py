"""A renewal process at a changing rate, by a change of time; for 64-bit mode.

The n-th arrival comes when the cumulated rate reaches the sum of n gaps of mean 1. The first gap
is a residual one, of a process that has always run. So the arrivals to be expected up to any
second are the cumulated rate, exactly.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._gaps import GapLaw
from jaxsched.workloads.arrivals._streams import per_stream
from jaxsched.workloads.arrivals.profiles import Profile

_OF_PROFILE, _OF_FIRST, _OF_GAPS = 0, 1, 2  # what keys are for


@functools.partial(jax.jit, static_argnames=("law", "leading", "n"))
def rescaled(
    key: jax.Array,
    rate: jax.Array,
    profile: Profile,
    law: GapLaw,
    cv: jax.Array,
    leading: tuple[int, ...],
    n: int,
) -> jax.Array:
    """Draw the times of n arrivals in each stream, ``[.., n]``, infinite for never."""

    def of_stream(key: jax.Array, rate: jax.Array, shape: jax.Array) -> jax.Array:
        return _renewals(key, rate, profile, law, shape, n)

    return per_stream(of_stream, key, leading, rate, _gaps.shape_of(law, cv))


def _renewals(
    key: jax.Array, rate: jax.Array, profile: Profile, law: GapLaw, shape: jax.Array, n: int
) -> jax.Array:
    """Draw the times of n arrivals of one stream, whose gaps have this shape."""
    profile = profile.drawn(jax.random.fold_in(key, _OF_PROFILE))
    first = _gaps.unit_residuals(law, jax.random.fold_in(key, _OF_FIRST), shape)
    gap_key = jax.random.fold_in(key, _OF_GAPS)
    gaps = _gaps.unit_gaps(law, gap_key, jnp.broadcast_to(shape, (n,)))
    areas = jnp.cumsum(gaps.at[0].set(first)) / rate
    time_s = jnp.where(jnp.isfinite(areas), profile.time_at(areas), jnp.inf)
    return lax.cummax(time_s)  # against the last bit of an inverse
