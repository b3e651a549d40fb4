"""The arrivals of many clients, in one order of time; for 64-bit mode."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._gaps import GapLaw
from jaxsched.workloads.arrivals._streams import per_stream
from jaxsched.workloads.arrivals.profiles import Profile


@functools.partial(jax.jit, static_argnames=("law", "leading", "n"))
def merged(
    key: jax.Array,
    share: jax.Array,
    shape: jax.Array,
    law: GapLaw,
    leading: tuple[int, ...],
    n: int,
) -> tuple[jax.Array, jax.Array]:
    """Draw times at rate 1, and clients, of the first n arrivals, each ``[.., n]``."""

    def of_stream(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first_key, key = jax.random.split(key)
        upcoming = _gaps.unit_residuals(law, first_key, shape) / share

        def arrive(upcoming: jax.Array, number: jax.Array) -> Any:
            time, client = _first_of(upcoming)
            gap_key = jax.random.fold_in(key, number)
            gap = _gaps.unit_gaps(law, gap_key, shape[client]) / share[client]
            return upcoming.at[client].set(time + gap), (time, client)

        return lax.scan(arrive, upcoming, jnp.arange(n, dtype=jnp.int32))[1]

    return per_stream(of_stream, key, leading)


@functools.partial(jax.jit, static_argnames=("law", "leading", "n"))
def merged_over_time(
    key: jax.Array,
    rate: jax.Array,
    share: jax.Array,
    profiles: Profile,
    shape: jax.Array,
    law: GapLaw,
    leading: tuple[int, ...],
    n: int,
) -> tuple[jax.Array, jax.Array]:
    """Draw times in seconds, and clients, of the first n arrivals, each ``[.., n]``.

    The gaps of a client have a key each, so that its gaps are the same at every rate, whoever
    comes between.
    """

    def of_stream(key: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        profile_key, first_key, key = jax.random.split(key, 3)
        profile_keys = jax.random.split(profile_key, share.size)
        drawn = jax.vmap(lambda key, profile: profile.drawn(key))(profile_keys, profiles)
        own_rate = rate * share

        def time_of(profile: Profile, area: jax.Array) -> jax.Array:
            return profile.time_at(area[None])[0]

        def arrive(state: tuple[jax.Array, ...], _: None) -> Any:
            upcoming, areas, counts = state
            time, client = _first_of(upcoming)
            gap_key = jax.random.fold_in(jax.random.fold_in(key, client), counts[client])
            gap = _gaps.unit_gaps(law, gap_key, shape[client]) / own_rate[client]
            area = areas[client] + gap
            following = time_of(jax.tree.map(lambda leaf: leaf[client], drawn), area)
            following = jnp.maximum(time, following)  # against the last bit of an inverse
            upcoming = upcoming.at[client].set(following)
            return (upcoming, areas.at[client].set(area), counts.at[client].add(1)), (time, client)

        areas = _gaps.unit_residuals(law, first_key, shape) / own_rate
        counts = jnp.zeros(share.size, jnp.int32)
        start = jax.vmap(time_of)(drawn, areas), areas, counts
        return lax.scan(arrive, start, length=n)[1]

    return per_stream(of_stream, key, leading, rate)


def _first_of(upcoming: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Find the least time and the first client who has it."""
    # An argmin of 64 bits does not lower for a caller in 32-bit mode.
    time = jnp.min(upcoming)
    place = jnp.arange(upcoming.size, dtype=jnp.int32)
    return time, jnp.min(jnp.where(upcoming == time, place, upcoming.size))
