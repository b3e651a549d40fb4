"""How the scores move when the parameters do, and the directions in which they move most."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsched.instance import Instance
from jaxsched.tuning._estimate import scores, units, within_orders

_REQUESTS = 512  # that the directions are found from, or those of one instance
_NEGLIGIBLE = 1e-6  # of the largest eigenvalue: what float32 slopes can resolve


# Programs of their own, also below: one that pushes and pulls takes more than twice as long.
@jax.jit
def moves(rule: Any, instances: Instance, steps: jax.Array) -> jax.Array:
    """Linearise how scores follow the parameters.

    Args:
      rule: a pytree of float leaves, P numbers.
      instances: ``[B, n]``.
      steps: of the parameters, ``[D, P]``.

    Returns:
      ``[D, B, n]``: moves in standard deviations of an instance's scores, less what shifts or
      spreads all scores alike, which changes no order.
    """
    return jax.vmap(_tangent(rule, instances))(steps)


@jax.jit
def pulled(rule: Any, instances: Instance, slopes: jax.Array) -> jax.Array:
    """Transpose of :func:`moves`: ``[D, B, n]`` to ``[D, P]``."""
    transposed = jax.linear_transpose(_tangent(rule, instances), ravel_pytree(rule)[0])
    return jax.vmap(lambda each: transposed(each)[0])(slopes)


def _tangent(rule: Any, instances: Instance) -> Callable[[jax.Array], jax.Array]:
    flat, unravel = ravel_pytree(rule)
    score, moved = jax.linearize(lambda flat: scores(unravel(flat), instances), flat)
    unit = units(score, instances)[:, None]
    return lambda step: within_orders(moved(step), score, instances) / unit


def leading_directions(
    rule: Any, instances: Instance, key: jax.Array, rank: int
) -> tuple[jax.Array, jax.Array]:
    r"""Find the directions in parameter space along which the scores move most.

    Of :math:`G`, the mean over requests of :math:`J^\top J` with the slopes :math:`J` of
    :func:`moves`, the part in the span of :math:`G \Omega` is kept, for normal draws
    :math:`\Omega`; all of it where there are no more than ``rank`` parameters.

    Args:
      rule: a pytree of float leaves, P numbers.
      instances: ``[B, n]``; evenly spaced ones stand for all.
      key: of the draws.
      rank: the most directions to keep.

    Returns:
      The eigenvectors of :math:`G` in that span, a column each, ``[P, R]``, and their
      eigenvalues ``[R]``, 0 where negligible.

    Source:
      Halko, Martinsson, Tropp, *Finding Structure with Randomness*, 2011, SIAM Review 53.
    """
    num_instances, n = instances.prompt_tokens.shape
    some = _every(instances, max(1, num_instances * n // _REQUESTS))
    flat, _ = ravel_pytree(rule)
    if flat.size <= rank:
        frame = jnp.eye(flat.size, dtype=flat.dtype)
    else:
        draws = jax.random.normal(key, (rank, flat.size), flat.dtype)
        frame = _frame(pulled(rule, some, moves(rule, some, draws)))
    return _eigen(some, frame, moves(rule, some, frame))


@functools.partial(jax.jit, static_argnums=1)
def _every(instances: Instance, spacing: int) -> Instance:
    return jax.tree.map(lambda leaf: leaf[::spacing], instances)


@jax.jit
def _frame(spanning: jax.Array) -> jax.Array:
    """Orthonormal rows with the span of rows ``[R, P]``."""
    return jnp.linalg.qr(spanning.T)[0].T


@jax.jit
def _eigen(instances: Instance, frame: jax.Array, moved: jax.Array) -> tuple[jax.Array, jax.Array]:
    table = moved.reshape(frame.shape[0], -1)
    count = jnp.sum(instances.is_real, dtype=table.dtype)
    values, vectors = jnp.linalg.eigh(table @ table.T / count)
    kept = values > _NEGLIGIBLE * values[-1]
    return frame.T @ vectors.astype(frame.dtype), jnp.where(kept, values, 0)
