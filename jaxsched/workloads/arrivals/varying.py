"""Arrivals at a rate that changes over time, by exact thinning."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._streams import (
    Lengths,
    arriving,
    leading_of,
    numbers_of,
    per_stream,
    rate_of,
)
from jaxsched.workloads.arrivals.profiles import Bursts, Diurnal, Profile, Ramp

_MOST_BLOCKS = 2**16  # a rate that sinks to nothing must not run for ever
_OF_PROFILE, _OF_CANDIDATES = 0, 1  # what keys are for


def varying(key: jax.Array, inst: Lengths, rate: Any, profile: Profile) -> Requests:
    r"""Have requests arrive as a Poisson process whose rate follows a profile.

    .. math:: \lambda(t) = \text{rate} \cdot \ell(t) \le \text{rate} \cdot \text{peak}

    Candidates come as a Poisson process at the highest rate. Each stays with probability
    :math:`\ell(t) / \text{peak}`, independently. What stays is a Poisson process of rate
    :math:`\lambda(t)`, exactly: nothing is put on a grid. It takes about peak over mean times as
    many draws as there are requests.

    The clock of the profile starts at second 0, and does not follow the rate: a day stays a day.
    The first request arrives after second 0. Equal keys draw the same candidates at every rate,
    but keep others; :func:`at_rate` scales one draw instead, with its day.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: requests a second at level 1, one or one a stream ``[..]``; it may be traced.
      profile: the level over time, the same for all streams: :class:`Diurnal`, :class:`Steps`,
        :class:`Ramp`, :class:`Bursts`, or a product of them. Bursts are drawn for each stream.

    Returns:
      The requests ``[.., n]``, in the order of the instance. Those that would never come, since
      the rate sinks to nothing, arrive at infinity.

    Raises:
      ValueError: a number of the profile or a rate is out of range.

    Example:
      >>> import jax, numpy as np
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=20_000)
      >>> day = js.workloads.arrivals.Diurnal(swing=0.5, period_s=1000.0)
      >>> reqs = js.workloads.arrivals.varying(jax.random.key(1), inst, 10.0, day)
      >>> counts, _ = np.histogram(np.asarray(reqs.arrival_s) % 1000, bins=4, range=(0, 1000))
      >>> (counts / counts.mean()).round(1).tolist()
      [1.3, 0.7, 0.7, 1.3]

    Source:
      Lewis and Shedler, *Simulation of nonhomogeneous Poisson processes by thinning*, Naval
      Research Logistics Quarterly, 1979.
    """
    profile.require()
    leading, n = leading_of(inst), inst.is_real.shape[-1]
    with jax.enable_x64(True):
        profile = numbers_of(profile, jnp.float64)
        of_each = rate_of(rate, leading)
        return arriving(inst, _thinned(key, of_each, profile, leading, n))


def diurnal(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    swing: Any = 0.5,
    peak_at_s: Any = 0.0,
    period_s: Any = 86_400.0,
) -> Requests:
    """Have requests arrive at the rate of a day: :func:`varying` with :class:`Diurnal`.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: requests a second, averaged over a day.
      swing: from 0 to 1, see :class:`Diurnal`.
      peak_at_s: second of the highest rate.
      period_s: seconds from peak to peak.

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=100)
      >>> js.workloads.arrivals.diurnal(jax.random.key(1), inst, 1.0, swing=0.9).prompt_tokens.shape
      (100,)
    """
    return varying(key, inst, rate, Diurnal(swing, peak_at_s, period_s))


def ramp(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    start: Any = 0.1,
    end: Any = 1.0,
    ramp_s: Any = 600.0,
    strategy: Any = "linear",
) -> Requests:
    """Have requests arrive at a rate that grows or falls: :func:`varying` with :class:`Ramp`.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: requests a second at level 1.
      start: the level at second 0.
      end: the level from ``ramp_s`` on.
      ramp_s: seconds that it takes.
      strategy: "linear" or "exponential".

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a number is out of range, or there is no such strategy.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=100)
      >>> js.workloads.arrivals.ramp(jax.random.key(1), inst, 1.0, ramp_s=60.0).prompt_tokens.shape
      (100,)
    """
    return varying(key, inst, rate, Ramp(start, end, ramp_s, strategy))


def bursts(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    cv: Any = 0.5,
    window_s: Any = 60.0,
    num_windows: int = 1440,
) -> Requests:
    """Have requests arrive at a random rate, anew each window: :func:`varying` with bursts.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: mean requests a second.
      cv: coefficient of variation of the rate, see :class:`Bursts`.
      window_s: seconds that each level holds.
      num_windows: windows until the same levels come again.

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=100)
      >>> js.workloads.arrivals.bursts(jax.random.key(1), inst, 1.0, cv=0.8).prompt_tokens.shape
      (100,)
    """
    return varying(key, inst, rate, Bursts(cv, window_s, num_windows))


@functools.partial(jax.jit, static_argnames=("leading", "n"))
def _thinned(
    key: jax.Array, rate: jax.Array, profile: Profile, leading: tuple[int, ...], n: int
) -> jax.Array:
    def of_stream(key: jax.Array, rate: jax.Array) -> jax.Array:
        return _kept(key, rate, profile, n)

    return per_stream(of_stream, key, leading, rate)


def _kept(key: jax.Array, rate: jax.Array, profile: Profile, n: int) -> jax.Array:
    """Draw blocks of n candidates until n of them stay."""
    profile = profile.drawn(jax.random.fold_in(key, _OF_PROFILE))
    key = jax.random.fold_in(key, _OF_CANDIDATES)
    peak = profile.peak

    def is_short(state: tuple[jax.Array, ...]) -> jax.Array:
        block, count, _, _ = state
        return (count < n) & (block < _MOST_BLOCKS)

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
