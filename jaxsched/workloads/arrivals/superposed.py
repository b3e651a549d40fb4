"""Many clients at once: each sends at a rate of its own, evenly or in bursts."""

from __future__ import annotations

import functools
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, choice, integer, reject
from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._gaps import GapLaw
from jaxsched.workloads.arrivals._streams import (
    LEAST_CV,
    MOST_CV,
    Lengths,
    arriving,
    leading_of,
    per_stream,
    rate_of,
)

_STEEPEST = 20.0  # exponent of a Zipf law, at which one client has all


def zipf(num_clients: int, exponent: Any) -> jax.Array:
    r"""Share the rate among clients by a Zipf law, :math:`p_c \propto c^{-a}`.

    Args:
      num_clients: how many there are, C.
      exponent: :math:`a \ge 0`; at 0 all are alike. It may be traced.

    Returns:
      Shares that add up to 1, the largest first, float32 ``[C]``.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jaxsched as js
      >>> shares = js.workloads.arrivals.zipf(3, exponent=1.0)
      >>> [round(float(share), 3) for share in shares]
      [0.545, 0.273, 0.182]
    """
    integer("num_clients", num_clients)
    if not is_traced(exponent):
        exponent = np.asarray(exponent, np.float64)
        is_bad = ~((exponent >= 0) & (exponent <= _STEEPEST))
        reject("exponent", exponent, is_bad, f"expected a number from 0 to {_STEEPEST:g}")
    exponent = jnp.asarray(exponent).astype(jnp.float32)
    rank = jnp.arange(1, num_clients + 1, dtype=jnp.float32)
    return jax.nn.softmax(-exponent * jnp.log(rank))


def zipf_exponent(num_clients: int, top: int, share: float) -> float:
    """Find the exponent at which the largest clients have a share of the rate together.

    Args:
      num_clients: how many there are.
      top: how many of them are counted, fewer than there are.
      share: what these have together, above ``top / num_clients`` and below 1.

    Returns:
      The exponent, for :func:`zipf`.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jaxsched as js
      >>> exponent = js.workloads.arrivals.zipf_exponent(162, top=10, share=0.63)
      >>> shares = js.workloads.arrivals.zipf(162, exponent)
      >>> round(exponent, 2), round(float(shares[:10].sum()), 2)
      (1.17, 0.63)
    """
    integer("num_clients", num_clients, least=2)
    integer("top", top, 1, num_clients - 1)
    log_rank = np.log(np.arange(1, num_clients + 1))

    def share_at(exponent: float) -> float:
        weight = np.exp(-exponent * log_rank)
        return float(weight[:top].sum() / weight.sum())

    low, high = 0.0, _STEEPEST
    if not share_at(low) < share < share_at(high):
        expectation = f"expected a number above {top} / {num_clients} and below 1"
        raise InputError("share", share, expectation)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share_at(middle) < share else (low, middle)
    return (low + high) / 2


def superposed(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    shares: Any,
    cv: Any = 1.0,
    law: GapLaw = "gamma",
) -> Requests:
    r"""Have the requests of many clients arrive together, each client with gaps of its own.

    Client :math:`c` sends at :math:`\lambda_c = \text{rate} \cdot p_c`. Its gaps are independent,
    of mean :math:`1 / \lambda_c` and coefficient of variation :math:`cv_c`. Its first request
    comes as if it had always sent: the time to it is a residual gap. The first n requests of all
    are taken, and the clock starts at the first.

    So the stream is stationary at once. A client that seldom sends, but then in bursts, may be
    silent for the whole of it: with a large ``cv`` a stream can miss the rate by much.

    Equal keys at two rates give the same arrivals of the same clients on two scales.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`. :func:`with_lengths` gives each client its own.
      rate: mean requests a second of all clients, one or one a stream ``[..]``; it may be traced.
      shares: numbers > 0 in proportion to the rates of the clients, ``[C]``, such as
        :func:`zipf`; they may be traced.
      cv: coefficient of variation of the gaps of each client, from 0.01 to 1000: one number, or
        ``[C]``; likewise.
      law: "gamma" or "weibull".

    Returns:
      The requests ``[.., n]``, with ``client``: the place of their client in ``shares``.

    Raises:
      ValueError: a number is out of range or has another shape, or there is no such law.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=2000)
      >>> reqs = js.workloads.arrivals.superposed(
      ...     jax.random.key(1), inst, rate=5.0, shares=[0.6, 0.3, 0.1], cv=[1.0, 1.0, 6.0])
      >>> round(float(jnp.mean(reqs.client == 0)), 1)
      0.6

    Source:
      Clients of unlike rate and burstiness: Xiang et al., *ServeGen*, 2025, arXiv:2505.09999.
      The form is ours.
    """
    choice("law", law, get_args(GapLaw))
    leading, n = leading_of(inst), inst.is_real.shape[-1]
    with jax.enable_x64(True):
        share = _one_a_client("shares", shares, "a finite number > 0", 0.0, np.inf)
        if share.ndim != 1:
            raise InputError("shares", shares, "expected a list, one number a client")
        share = share / jnp.sum(share)
        spread = _one_a_client(
            "cv", cv, f"a number from {LEAST_CV} to {MOST_CV:g}", LEAST_CV, MOST_CV
        )
        if spread.shape not in ((), share.shape):
            beside = f"expected one number, or {share.shape}, one a client"
            raise InputError("cv", cv, beside, finding=f"has shape {spread.shape}")
        shape = _gaps.shape_of(law, jnp.broadcast_to(spread, share.shape))
        time, client = _merged(key, share, shape, law, leading, n)
        arrival_s = (time - time[..., :1]) / rate_of(rate, leading)[..., None]
    return arriving(inst, arrival_s, client=client)


def clients(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    num_clients: int = 100,
    top_10_share: float = 0.7,
    cv: Any = 1.0,
    law: GapLaw = "gamma",
) -> Requests:
    """Superpose clients whose rates follow a Zipf law: :func:`superposed` by name.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`.
      rate: mean requests a second of all clients.
      num_clients: how many there are, more than 10.
      top_10_share: what the ten largest have of the rate.
      cv: coefficient of variation of the gaps, one number or one a client, the largest first.
      law: "gamma" or "weibull".

    Returns:
      The requests ``[.., n]``, with ``client``, from 0 for the largest.

    Raises:
      ValueError: a number is out of range, or there is no such law.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=5000)
      >>> reqs = js.workloads.arrivals.clients(jax.random.key(1), inst, 5.0, top_10_share=0.8)
      >>> round(float(jnp.mean(reqs.client < 10)), 1)
      0.8
    """
    shares = zipf(num_clients, zipf_exponent(num_clients, 10, top_10_share))
    return superposed(key, inst, rate, shares=shares, cv=cv, law=law)


def _one_a_client(name: str, value: Any, expectation: str, least: float, most: float) -> jax.Array:
    if not is_traced(value):
        value = np.asarray(value, np.float64)
        is_good = np.isfinite(value) & (value >= least) & (value <= most) & (value > 0)
        reject(name, value, ~is_good, f"expected {expectation}")
    return jnp.asarray(value).astype(jnp.float64)


@functools.partial(jax.jit, static_argnames=("law", "leading", "n"))
def _merged(
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
