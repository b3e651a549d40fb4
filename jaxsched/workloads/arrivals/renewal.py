"""Arrivals with independent gaps of one law."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._gaps import GapLaw
from jaxsched.workloads.arrivals._streams import (
    Lengths,
    arriving,
    leading_of,
    per_stream,
    rate_of,
    spread_of,
)


def poisson(key: jax.Array, inst: Lengths, rate: Any) -> Requests:
    r"""Have requests arrive one after the other, as a Poisson process.

    .. math:: r_1 = 0,\ r_{i+1} = r_i + g_i,\ g_i \sim \mathrm{Exp}(\text{rate})

    The gaps are independent. Equal keys at two rates give the same arrivals on two scales. Stream
    i of a batch is the same whatever the batch.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, ``[n]`` or ``[.., n]``: an instance, whose KV capacity is not used, or
        requests, whose times are replaced.
      rate: mean requests a second > 0, one or one a stream ``[..]``; it may be traced.

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a rate is not a finite number above 0, or has another shape.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=1000, batch=4)
      >>> reqs = js.workloads.poisson(jax.random.key(1), inst, rate=5.0)
      >>> reqs.prompt_tokens.shape, reqs.arrival_s[:, 0].tolist()
      ((4, 1000), [0.0, 0.0, 0.0, 0.0])
    """
    n = inst.is_real.shape[-1]
    with jax.enable_x64(True):
        gaps_s = per_stream(lambda key: _gaps.exponential(key, (n,)), key, leading_of(inst))
        return _one_after_the_other(inst, gaps_s, rate)


def gamma(
    key: jax.Array, inst: Lengths, rate: Any, *, burstiness: Any = None, cv: Any = None
) -> Requests:
    r"""Have requests arrive with independent gamma gaps.

    .. math:: r_1 = 0,\ r_{i+1} = r_i + g_i,\ g_i \sim \mathrm{Gamma}(\text{shape} = b,\
              \text{mean} = 1 / \text{rate}), \qquad b = 1 / cv^2

    :math:`b = 1` is a Poisson process. Below 1 requests come in bursts; above 1 they come evenly.
    Equal keys at two rates give the same arrivals on two scales.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: mean requests a second > 0, one or one a stream ``[..]``; it may be traced.
      burstiness: :math:`b`, from 1e-6 to 10,000, as ``vllm bench serve`` calls it; likewise.
      cv: the coefficient of variation of the gaps, from 0.01 to 1000, instead of it; likewise.

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: not exactly one of ``burstiness`` and ``cv`` is given, or a number is out of
        range or has another shape.

    Example:
      >>> import jax, numpy as np
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=20_000)
      >>> reqs = js.workloads.arrivals.gamma(jax.random.key(1), inst, rate=5.0, cv=2.0)
      >>> gaps_s = np.diff(reqs.arrival_s)
      >>> bool(1.8 < gaps_s.std() / gaps_s.mean() < 2.2)
      True

    Source:
      ``vllm bench serve``, vLLM 0.33, 2026, which also stretches each stream so that n requests
      take n / rate seconds exactly: see :func:`at_rate`.
    """
    return _renewal("gamma", key, inst, rate, burstiness, cv)


def weibull(
    key: jax.Array, inst: Lengths, rate: Any, *, burstiness: Any = None, cv: Any = None
) -> Requests:
    r"""Have requests arrive with independent Weibull gaps.

    .. math:: g_i = \frac{E_i^{1/k}}{\Gamma(1 + 1/k)\, \text{rate}}, \qquad
              \frac{\Gamma(1 + 2/k)}{\Gamma(1 + 1/k)^2} = 1 + cv^2

    with :math:`E_i` standard exponential. Equal keys give the same :math:`E_i` at every rate and
    every ``cv``.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: mean requests a second > 0, one or one a stream ``[..]``; it may be traced.
      burstiness: :math:`1 / cv^2`, from 1e-6 to 10,000; likewise.
      cv: the coefficient of variation of the gaps, from 0.01 to 1000, instead of it; likewise.

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: as for :func:`gamma`.

    Example:
      >>> import jax, numpy as np
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=20_000)
      >>> reqs = js.workloads.arrivals.weibull(jax.random.key(1), inst, rate=5.0, cv=2.0)
      >>> gaps_s = np.diff(reqs.arrival_s)
      >>> bool(1.8 < gaps_s.std() / gaps_s.mean() < 2.2)
      True
    """
    return _renewal("weibull", key, inst, rate, burstiness, cv)


def _renewal(
    law: GapLaw, key: jax.Array, inst: Lengths, rate: Any, burstiness: Any, cv: Any
) -> Requests:
    leading, n = leading_of(inst), inst.is_real.shape[-1]
    with jax.enable_x64(True):
        shape = _gaps.shape_of(law, spread_of(burstiness, cv, leading))

        def gaps_of(key: jax.Array, shape: jax.Array) -> jax.Array:
            return _gaps.unit_gaps(law, key, jnp.broadcast_to(shape, (n,)))

        return _one_after_the_other(inst, per_stream(gaps_of, key, leading, shape), rate)


def _one_after_the_other(inst: Lengths, unit_gaps: jax.Array, rate: Any) -> Requests:
    """Let the first request arrive at second 0; the last gap is of nobody."""
    of_each = rate_of(rate, leading_of(inst))
    gaps_s = unit_gaps.at[..., -1].set(0.0) / of_each[..., None]
    return arriving(inst, jnp.cumsum(jnp.roll(gaps_s, 1, axis=-1), axis=-1))
