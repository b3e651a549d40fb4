"""Lengths of prompts and outputs, drawn together."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, integer, reject, wrong_shape
from jaxsched.model.requests import Requests
from jaxsched.workloads import _checks
from jaxsched.workloads.arrivals._streams import leading_of, numbers_of, per_stream
from jaxsched.workloads.arrivals.laws import LengthLaw

#: Longest lengths that are drawn unless said otherwise; what exceeds them is cut to them.
MOST_TOKENS = 131_072
_MOST_WHOLE = 2**24  # float32 has all whole numbers up to it


def requests(
    key: jax.Array,
    num_requests: int,
    batch: int | None = None,
    *,
    prompt: LengthLaw,
    output: LengthLaw,
    rank_correlation: Any = 0.0,
    max_prompt_tokens: int = MOST_TOKENS,
    max_output_tokens: int = MOST_TOKENS,
) -> Requests:
    """Draw requests of the given laws, which all arrive at second 0; see :func:`with_lengths`.

    Args:
      key: a jax random key; equal keys give equal requests.
      num_requests: requests in each stream, n.
      batch: number of streams B, or None for a single one without a leading axis.
      prompt: the law of prompt lengths.
      output: the law of output lengths.
      rank_correlation: Spearman's, between the two, from -1 to 1; it may be traced.
      max_prompt_tokens: longer ones are cut to it.
      max_output_tokens: likewise.

    Returns:
      Requests ``[n]`` or ``[B, n]``, for a process that gives them times.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> from jaxsched.workloads.arrivals import Exponential, LogNormal
      >>> reqs = js.workloads.arrivals.requests(
      ...     jax.random.key(0), 1000, prompt=LogNormal(500.0, 1.2), output=Exponential(200.0))
      >>> js.workloads.arrivals.gamma(jax.random.key(1), reqs, rate=4.0, cv=2.0).arrival_s[0]
      Array(0., dtype=float64)
    """
    shape = *_checks.leading(batch), _checks.count("num_requests", num_requests)
    with jax.enable_x64(True):
        arrival_s = jnp.zeros(shape, jnp.float64)
    ones = jnp.ones(shape, jnp.int32)
    blank = Requests(arrival_s, ones, ones, jnp.ones(shape, bool))
    return with_lengths(
        blank,
        key,
        prompt=prompt,
        output=output,
        rank_correlation=rank_correlation,
        max_prompt_tokens=max_prompt_tokens,
        max_output_tokens=max_output_tokens,
    )


def with_lengths(
    reqs: Requests,
    key: jax.Array,
    *,
    prompt: LengthLaw,
    output: LengthLaw,
    rank_correlation: Any = 0.0,
    max_prompt_tokens: int = MOST_TOKENS,
    max_output_tokens: int = MOST_TOKENS,
) -> Requests:
    r"""Give requests lengths of two laws with a stated rank correlation, by a Gaussian copula.

    .. math:: s = F_s^{-1}(\Phi(z)), \quad o = F_o^{-1}(\Phi(w)), \quad
              w = \rho z + \sqrt{1 - \rho^2}\, y, \quad \rho = 2 \sin(\pi r / 6)

    with :math:`z` and :math:`y` independent and standard normal. Then :math:`r` is Spearman's
    rank correlation of the laws, whatever these are. Lengths are rounded to whole tokens, at
    least 1 and at most the limits, which ties some ranks.

    Numbers of a law may be lists, one for each client; ``reqs.client`` says whose a request is.
    Over all clients together the correlation is then another, since their medians differ.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``; earlier lengths are not read.
      key: a jax random key; equal keys give equal lengths.
      prompt: the law of prompt lengths :math:`s`.
      output: the law of output lengths :math:`o`.
      rank_correlation: :math:`r`, from -1 to 1, one, or one a stream ``[..]``; it may be traced.
      max_prompt_tokens: longer ones are cut to it.
      max_output_tokens: likewise.

    Returns:
      The requests with other lengths; predictions of the earlier outputs are left out.

    Raises:
      ValueError: a number is out of range, or a client has no number.

    Example:
      >>> import jax, scipy.stats
      >>> import jaxsched as js
      >>> from jaxsched.workloads.arrivals import Exponential, LogNormal
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=20_000)
      >>> reqs = js.workloads.poisson(jax.random.key(1), inst, rate=4.0)
      >>> reqs = js.workloads.arrivals.with_lengths(
      ...     reqs, jax.random.key(2), prompt=LogNormal(500.0, 1.2), output=Exponential(200.0),
      ...     rank_correlation=0.4)
      >>> found = scipy.stats.spearmanr(reqs.prompt_tokens, reqs.output_tokens).statistic
      >>> round(float(found), 1)
      0.4

    Source:
      Kruskal, *Ordinal measures of association*, Journal of the American Statistical
      Association, 1958, for the sine.
    """
    leading, n = leading_of(reqs), reqs.is_real.shape[-1]
    require_limit("max_prompt_tokens", max_prompt_tokens)
    require_limit("max_output_tokens", max_output_tokens)
    rank = _rank_correlation(rank_correlation, leading)

    def normals_of(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (2, n), jnp.float32)

    both = per_stream(normals_of, key, leading)
    first, other = both[..., 0, :], both[..., 1, :]
    rho = 2 * jnp.sin(jnp.pi / 6 * rank)[..., None]
    second = rho * first + jnp.sqrt(jnp.maximum(1 - rho**2, 0.0)) * other
    drawn = {}
    for name, law, normal, limit in (
        ("prompt", prompt, first, max_prompt_tokens),
        ("output", output, second, max_output_tokens),
    ):
        law.require(name)
        own = _own_law(name, law, reqs)
        tokens = whole_tokens(own.at_normal(normal), limit)
        drawn[f"{name}_tokens"] = jnp.where(reqs.is_real, tokens, 1)
    return dataclasses.replace(reqs, **drawn, predicted_output_tokens=None)


def require_limit(name: str, limit: int) -> None:
    """Raise unless this is a longest length."""
    integer(name, limit, 1, _MOST_WHOLE)


def whole_tokens(tokens: jax.Array, limit: int) -> jax.Array:
    """Round lengths to tokens, from 1 to the limit."""
    return jnp.clip(jnp.round(tokens), 1.0, float(limit)).astype(jnp.int32)


def _rank_correlation(value: Any, leading: tuple[int, ...]) -> jax.Array:
    if not is_traced(value):
        value = np.asarray(value, np.float64)
        reject("rank_correlation", value, ~(np.abs(value) <= 1), "expected a number from -1 to 1")
    if value.shape not in ((), leading):
        raise wrong_shape("rank_correlation", value.shape, f"expected one number, or {leading}")
    return jnp.broadcast_to(jnp.asarray(value).astype(jnp.float32), leading)


def _own_law(name: str, law: LengthLaw, reqs: Requests) -> LengthLaw:
    """Give every request the numbers of its client, float32, if they differ."""
    law = numbers_of(law, jnp.float32)
    of_one = jax.tree.leaves(law.of_clients(jnp.int32(0)))
    leaves = zip(jax.tree.leaves(law), of_one, strict=True)
    widths = [leaf.shape[0] for leaf, kept in leaves if leaf.shape != kept.shape]
    if not widths:
        return law
    if reqs.client is None:
        raise InputError(
            name, "", "give one number, or requests with clients", finding="has a number per client"
        )
    if not is_traced(reqs.client):
        client = np.asarray(reqs.client)
        reject("client", client, client >= min(widths), f"expected less than {min(widths)}")
    return law.of_clients(jnp.asarray(reqs.client))
