"""The arrivals of many clients, in one order of time; for 64-bit mode."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._gaps import GapLaw
from jaxsched.workloads.arrivals._rescaling import renewals
from jaxsched.workloads.arrivals._streams import per_stream
from jaxsched.workloads.arrivals.profiles import Profile


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
    """Draw n arrivals of each client, and take the first n of all, each ``[.., n]``."""

    def of_client(key: jax.Array, rate: jax.Array, profile: Profile, shape: jax.Array) -> jax.Array:
        return renewals(key, rate, profile, law, shape, n)

    def of_stream(key: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, share.size)
        time_s = jax.vmap(of_client)(keys, rate * share, profiles, shape).reshape(-1)
        first = jnp.argsort(time_s)[:n]
        return time_s[first], (first // n).astype(jnp.int32)

    return per_stream(of_stream, key, leading, rate)


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
    num_clients = share.shape[0]
    place = jnp.arange(num_clients, dtype=jnp.int32)

    def of_stream(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first_key, key = jax.random.split(key)
        upcoming = _gaps.unit_residuals(law, first_key, shape) / share

        def arrive(upcoming: jax.Array, number: jax.Array) -> Any:
            # The first of the least; argmin of 64 bits does not lower for a caller in 32-bit mode.
            time = jnp.min(upcoming)
            client = jnp.min(jnp.where(upcoming == time, place, num_clients))
            gap_key = jax.random.fold_in(key, number)
            gap = _gaps.unit_gaps(law, gap_key, shape[client]) / share[client]
            return upcoming.at[client].set(time + gap), (time, client)

        _, merged = lax.scan(arrive, upcoming, jnp.arange(n, dtype=jnp.int32))
        return merged

    return per_stream(of_stream, key, leading)
