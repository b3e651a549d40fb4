"""A walk through windows in which a level holds; for 64-bit mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_MOST_WINDOWS = 2**20  # without an arrival: levels of 0 must not be walked for ever


class _Window(NamedTuple):
    places: jax.Array  # int32 [m], of the current window of each factor
    begin: jax.Array  # on the clock of the areas
    end: jax.Array
    end_s: jax.Array
    level: jax.Array
    area: jax.Array  # up to its begin
    num_empty: jax.Array  # windows walked since the last arrival


def walked(
    levels: list[jax.Array],
    windows_s: jax.Array,
    clock: Callable[[jax.Array], jax.Array],
    areas: jax.Array,
) -> jax.Array:
    """Find when the integral of a product of steps over a clock reaches each area.

    Args:
      levels: those of each factor, which repeat.
      windows_s: seconds that levels of each factor hold, ``[m]``.
      clock: what is integrated over, by seconds: the seconds, or the integral of another level.
      areas: ascending, ``[n]``.

    Returns:
      Readings of the clock ``[n]``, infinite where a million windows bring no arrival.
    """

    def ends_s(places: jax.Array) -> jax.Array:
        return (places + 1).astype(areas.dtype) * windows_s

    def window(places: jax.Array, begin: jax.Array, area: jax.Array, num: jax.Array) -> _Window:
        end_s = jnp.min(ends_s(places))
        level = jnp.ones((), areas.dtype)
        for number, own in enumerate(levels):
            level = level * own[places[number] % own.size]
        return _Window(places, begin, clock(end_s), end_s, level, area, num)

    def area_at_end(now: _Window) -> jax.Array:
        return now.area + now.level * (now.end - now.begin)

    def reach(now: _Window, area: jax.Array) -> tuple[_Window, jax.Array]:
        def is_before(now: _Window) -> jax.Array:
            return (area_at_end(now) < area) & (now.num_empty < _MOST_WINDOWS)

        def advanced(now: _Window) -> _Window:
            is_over = ends_s(now.places) <= now.end_s
            places = now.places + is_over.astype(jnp.int32)
            return window(places, now.end, area_at_end(now), now.num_empty + 1)

        now = lax.while_loop(is_before, advanced, now)
        since = jnp.where(now.level > 0, (area - now.area) / now.level, 0.0)
        reading = jnp.clip(now.begin + since, now.begin, now.end)
        is_lost = now.num_empty >= _MOST_WINDOWS
        num_empty = jnp.where(is_lost, now.num_empty, 0)
        return now._replace(num_empty=num_empty), jnp.where(is_lost, jnp.inf, reading)

    zero = jnp.zeros((), areas.dtype)
    start = window(jnp.zeros(len(levels), jnp.int32), clock(zero), zero, jnp.int32(0))
    return lax.scan(reach, start, areas)[1]
