"""A Poisson process at a changing rate, by exact thinning; for 64-bit mode."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._streams import per_stream
from jaxsched.workloads.arrivals.profiles import Profile

_MOST_BLOCKS = 2**16  # a rate that sinks to nothing must not run for ever
_OF_PROFILE, _OF_CANDIDATES = 0, 1  # what keys are for


@functools.partial(jax.jit, static_argnames=("leading", "n"))
def thinned(
    key: jax.Array, rate: jax.Array, profile: Profile, leading: tuple[int, ...], n: int
) -> jax.Array:
    """Draw the times of n arrivals in each stream, ``[.., n]``, infinite for never."""

    def of_stream(key: jax.Array, rate: jax.Array) -> jax.Array:
        return _kept(key, rate, profile, n)

    return per_stream(of_stream, key, leading, rate)


def _kept(key: jax.Array, rate: jax.Array, profile: Profile, n: int) -> jax.Array:
    """Draw blocks of n candidates until n of them stay."""
    profile = profile.drawn(jax.random.fold_in(key, _OF_PROFILE))
    key = jax.random.fold_in(key, _OF_CANDIDATES)
    peak = profile.peak

    def is_short(state: tuple[jax.Array, ...]) -> jax.Array:
        block, count, begin_s, _ = state
        # Where the highest level is 0, the first candidates come at infinity already.
        return (count < n) & (block < _MOST_BLOCKS) & jnp.isfinite(begin_s)

    def one_block(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        block, count, begin_s, arrival_s = state
        gap_key, keep_key = jax.random.split(jax.random.fold_in(key, block))
        time_s = begin_s + jnp.cumsum(_gaps.exponential(gap_key, (n,))) / (rate * peak)
        is_kept = _gaps.uniform(keep_key, (n,)) * peak < profile.level(time_s)
        place = count + jnp.cumsum(is_kept, dtype=jnp.int32) - 1
        arrival_s = arrival_s.at[jnp.where(is_kept, place, n)].set(time_s, mode="drop")
        return block + 1, count + jnp.sum(is_kept, dtype=jnp.int32), time_s[-1], arrival_s

    start = jnp.int32(0), jnp.int32(0), jnp.float64(0.0), jnp.full((n,), jnp.inf, jnp.float64)
    return lax.while_loop(is_short, one_block, start)[-1]
