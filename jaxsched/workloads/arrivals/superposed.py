"""Many clients at once: each sends at a rate of its own, evenly or in bursts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, choice, reject
from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._gaps import GapLaw
from jaxsched.workloads.arrivals._merging import merged, merged_over_time
from jaxsched.workloads.arrivals._streams import (
    LEAST_CV,
    MOST_CV,
    Lengths,
    arriving,
    leading_of,
    numbers_of,
    rate_of,
)
from jaxsched.workloads.arrivals.profiles import Profile
from jaxsched.workloads.arrivals.shares import zipf, zipf_exponent


def superposed(
    key: jax.Array,
    inst: Lengths,
    rate: Any,
    *,
    shares: Any,
    cv: Any = 1.0,
    law: GapLaw = "gamma",
    profiles: Profile | Sequence[Profile] | None = None,
) -> Requests:
    r"""Have the requests of many clients arrive together, each client with gaps of its own.

    Client :math:`c` sends at :math:`\lambda_c = \text{rate} \cdot p_c`. Its gaps are independent,
    of mean :math:`1 / \lambda_c` and coefficient of variation :math:`cv_c`. Its first request
    comes as if it had always sent: the time to it is a residual gap. The first n requests of all
    are taken, and the clock starts at the first.

    So the stream is stationary at once. A client that seldom sends, but then in bursts, may be
    silent for the whole of it: with a large ``cv`` a stream can miss the rate by much.

    Equal keys at two rates give the same arrivals of the same clients on two scales.

    With ``profiles`` the rate of each client changes over time as well,
    :math:`\lambda_c(t) = \text{rate} \cdot p_c\, \ell_c(t)`. Each client alone is a stream of
    :func:`varying` with gaps of its ``cv``. Then the clock starts at second 0 of the profiles, and
    does not follow the rate. Equal keys at two rates give each client the same gaps on the clock
    of its cumulated rate. A product of profiles is walked through anew for each request.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, as in :func:`poisson`. :func:`with_lengths` gives each client its own.
      rate: mean requests a second of all clients, one or one a stream ``[..]``; it may be traced.
      shares: numbers > 0 in proportion to the rates of the clients, ``[C]``, such as
        :func:`zipf`; they may be traced.
      cv: coefficient of variation of the gaps of each client, from 0.01 to 1000: one number, or
        ``[C]``; likewise.
      law: "gamma" or "weibull".
      profiles: the level of each client over time: one for all, or C of one kind. Random ones are
        drawn for each client. At most one factor of a product may change smoothly.

    Returns:
      The requests ``[.., n]``, with ``client``: the place of their client in ``shares``. With
      profiles, those that would never come arrive at infinity.

    Raises:
      ValueError: a number is out of range or has another shape, there is no such law, or the
        profiles are not one a client, of one kind.

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
        of_each = rate_of(rate, leading)
        if profiles is None:
            time, client = merged(key, share, shape, law, leading, n)
            arrival_s = (time - time[..., :1]) / of_each[..., None]
        else:
            stacked = _stacked(profiles, share.size)
            arrival_s, client = merged_over_time(
                key, of_each, share, stacked, shape, law, leading, n
            )
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


def _stacked(profiles: Profile | Sequence[Profile], num_clients: int) -> Profile:
    """Check profiles, and make them one whose numbers have a leading axis, of clients."""
    if isinstance(profiles, Profile):
        profiles = [profiles] * num_clients
    if len(profiles) != num_clients:
        finding = f"has {len(profiles)} profiles"
        expectation = f"expected one for all, or {num_clients}, one a client"
        raise InputError("profiles", profiles, expectation, finding=finding)
    for profile in profiles:
        profile.require()
    made = [numbers_of(profile, jnp.float64) for profile in profiles]
    for client, profile in enumerate(made):
        if _kind(profile) != _kind(made[0]):
            expectation = "expected the kind and the number of levels of the first; use one kind"
            raise InputError("profiles", profiles[client], expectation, (client,))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)


def _kind(profile: Profile) -> tuple[Any, list[tuple[int, ...]]]:
    leaves, structure = jax.tree.flatten(profile)
    return structure, [leaf.shape for leaf in leaves]
