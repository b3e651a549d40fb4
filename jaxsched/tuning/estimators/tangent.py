"""How the scores move when the parameters do, and the directions in which they move most."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsched.engine.contract import Observation
from jaxsched.tuning.estimators.estimate import (
    Shown,
    between_neighbors,
    moves_within_orders,
    smooth_scores,
    units,
)

NEGLIGIBLE = 1e-6  # of the largest eigenvalue: what float32 slopes can resolve
_SOME_INSTANCES, _SOME_REQUESTS = 4, 512  # at least, to find directions among many parameters


# Moving and pulling are compiled apart: one program for both takes twice as long.
@jax.jit
def moved(rule: Any, instances: Shown, steps: jax.Array) -> jax.Array:
    """Move scores to first order.

    Args:
      rule: a pytree of float leaves, P numbers.
      instances: ``[B, n]``.
      steps: of the parameters, ``[D, P]``, the same for all instances.

    Returns:
      ``[D, B, n]``: moves in standard deviations of an instance's scores, less what shifts or
      spreads all scores alike, which changes no order. Of streams ``[D, B, n - 1]``, differences
      of requests that arrive in a row, of the same standard deviation where moves are at random.
    """
    return jax.vmap(_tangent(rule, instances))(steps)


@jax.jit
def _pulled(rule: Any, instances: Shown, slopes: jax.Array) -> jax.Array:
    """Transpose :func:`moved`: ``[D, B, n]`` to ``[D, P]``."""
    transposed = jax.linear_transpose(_tangent(rule, instances), ravel_pytree(rule)[0])
    return jax.vmap(lambda each: transposed(each)[0])(slopes)


def _tangent(rule: Any, instances: Shown) -> Callable[[jax.Array], jax.Array]:
    flat, unravel = ravel_pytree(rule)
    score, move = jax.linearize(lambda flat: smooth_scores(unravel(flat), instances), flat)
    unit = units(score, instances)[:, None]

    def moved(step: jax.Array) -> jax.Array:
        moves = moves_within_orders(move(step), score, instances) / unit
        if isinstance(instances, Observation):  # as the unit is
            return between_neighbors(moves, instances) / math.sqrt(2)
        return moves

    return moved


def leading_directions(
    rule: Any, instances: Shown, key: jax.Array, rank: int
) -> tuple[jax.Array, jax.Array]:
    r"""Find the directions in parameter space along which the scores move most.

    They are eigenvectors of :math:`G`, the mean over requests of :math:`J^\top J` with the slopes
    :math:`J` of :func:`moved`. Of more than ``rank`` parameters, a few instances stand for all,
    and :math:`G` is cut down to the span of :math:`G \Omega` for ``rank`` normal draws
    :math:`\Omega`.

    Args:
      rule: a pytree of float leaves, P numbers.
      instances: ``[B, n]``.
      key: of the draws of instances and steps.
      rank: the most directions to keep.

    Returns:
      The eigenvectors, a column each, ``[P, R]``, and their eigenvalues ``[R]``, 0 where
      negligible.

    Source:
      Halko, Martinsson, Tropp, *Finding Structure with Randomness*, 2011, SIAM Review 53.
    """
    flat, _ = ravel_pytree(rule)
    if flat.size <= rank:
        frame = jnp.eye(flat.size, dtype=flat.dtype)
    else:
        instance_key, step_key = jax.random.split(key)
        instances = _some(instances, instance_key)
        draws = jax.random.normal(step_key, (rank, flat.size), flat.dtype)
        frame = _orthonormal(_pulled(rule, instances, moved(rule, instances, draws)))
    return _eigen(instances, frame, moved(rule, instances, frame))


@jax.jit
def _some(instances: Shown, key: jax.Array) -> Shown:
    num_instances, n = instances.prompt_tokens.shape
    count = min(num_instances, max(_SOME_INSTANCES, _SOME_REQUESTS // n))
    rows = jax.random.choice(key, num_instances, (count,), replace=False)
    return jax.tree.map(lambda leaf: leaf[rows], instances)


@jax.jit
def _orthonormal(rows: jax.Array) -> jax.Array:
    """Rows ``[R, P]`` with the same span, orthonormal."""
    return jnp.linalg.qr(rows.T)[0].T


@jax.jit
def _eigen(instances: Shown, frame: jax.Array, moves: jax.Array) -> tuple[jax.Array, jax.Array]:
    table = moves.reshape(frame.shape[0], -1)
    count = jnp.sum(instances.is_real, dtype=table.dtype)
    values, vectors = jnp.linalg.eigh(table @ table.T / count)
    is_kept = values > NEGLIGIBLE * values[-1]
    return frame.T @ vectors.astype(frame.dtype), jnp.where(is_kept, values, 0)
