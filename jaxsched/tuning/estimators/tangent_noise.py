"""Antithetic noise on the scores along the moves that the parameters can make."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsched._lib.pytree import pytree, static
from jaxsched.tuning.estimators.estimate import (
    Antithetic,
    Cases,
    Estimate,
    Shown,
    hard_values,
    moves_within_orders,
    relative,
    scores,
    units,
)
from jaxsched.tuning.estimators.tangent import leading_directions
from jaxsched.tuning.traffic import shown_to_rules


@pytree
class TangentNoise(Antithetic):
    r"""Antithetic moves that the parameters can make, each instance its own, simulated.

    Noise on single scores has a part for every request, and what the simulator answers to most of
    them says nothing of the parameters. Here instance :math:`b` moves along
    :math:`J_b \eta_{bk}`, with the slopes :math:`J_b` of its scores in the parameters and a step
    :math:`\eta_{bk}` of the parameters of its own:

    .. math::
       f_{bk}^\pm &= f\big(z_b + \sigma \epsilon_{bk} \pm J_b \eta_{bk}\big), \qquad
       \epsilon_{bk} \sim N(0, I), \\
       \hat g &= \operatorname{mean}_{b,k} \frac{f_{bk}^+ - f_{bk}^-}{2 \bar f_b}\,
       A^{-1} \eta_{bk}, \qquad E[\eta \eta^\top] = A = \frac{\sigma^2}{2 \operatorname{tr} G^{1/2}}
       G^{-1/2}

    The noise :math:`\epsilon` smooths and is the same on both sides, so that it does not show in
    their difference. :math:`G`, the mean of :math:`J^\top J`, says how far the scores move along
    each direction; of all :math:`A` that move the scores by :math:`\sigma^2/2` in mean square,
    this one has the least squared error in :math:`\hat g` for differences of a given size. The two
    sides are then as far apart as two draws of the noise. Steps are orthogonal across instances
    and pairs, as far as there are dimensions for it, so that little of an estimate hangs on which
    of them were drawn. In the span of the directions kept, this is the gradient of the objective
    smoothed by :math:`\epsilon` and by :math:`J \eta`, exactly so for normal steps;
    :math:`\bar f`, the mean of an instance's samples, turns it into that of the logarithm. The
    second smoothing moves many scores together and blurs more than the first of the same size.

    Attributes:
      noise: :math:`\sigma > 0`, in standard deviations of an instance's scores.
      pairs: :math:`K`; static. Each instance is simulated :math:`2K` times.
      objective: what to make small; static.
      rank: the most directions of parameter space to move in, those along which scores move
        most; static. To find them takes three times as many passes over a few instances, which
        outweighs the simulations where there are thousands of parameters.

    Source:
      Ours. Steps of their own for the members of a batch: Wen, Vicol, Ba, Tran, Grosse, *Flipout:
      Efficient Pseudo-Independent Weight Perturbations on Mini-Batches*, 2018, arXiv:1803.04386;
      orthogonal ones: Choromanski, Rowland, Sindhwani, Turner, Weller, *Structured Evolution with
      Compact Architectures for Scalable Policy Optimization*, 2018, arXiv:1804.02395.
    """

    rank: int = static(default=16)

    def __call__(self, rule: Any, instances: Cases, key: jax.Array) -> Estimate:
        """Estimate value and gradient from ``2 pairs`` simulations of each instance."""
        frame_key, key = jax.random.split(key)
        seen = shown_to_rules(instances)
        vectors, values = leading_directions(rule, seen, frame_key, self.rank)
        noise = jnp.asarray(self.noise, jnp.float32)
        sampled, weights = _sampled(rule, seen, key, noise, self.pairs, vectors, values)
        objectives = hard_values(self.objective, instances, sampled)
        return _combined(rule, vectors, weights, objectives)


@functools.partial(jax.jit, static_argnames="pairs")
def _sampled(
    rule: Any,
    instances: Shown,
    key: jax.Array,
    noise: jax.Array,
    pairs: int,
    vectors: jax.Array,
    values: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    r"""Priorities ``[2 K, B, n]``, and :math:`A^{-1} \eta` along the directions, ``[K, B, R]``."""
    step_key, noise_key = jax.random.split(key)
    score = scores(rule, instances)
    shape = (pairs, *score.shape)
    unit = units(score, instances)[None, :, None]
    smoothed = score[None] + noise * unit * jax.random.normal(noise_key, shape, jnp.float32)
    # A has the eigenvalues size^2 / sqrt(values); all are 0 if no parameter moves a score.
    trace = jnp.maximum(jnp.sum(jnp.sqrt(values)), 1e-30)
    size = noise / jnp.sqrt(2 * trace)
    deviation = size * jnp.where(values > 0, values, 1)[None] ** -0.25
    drawn = _orthogonal(step_key, math.prod(shape[:2]), values.size)
    drawn = jnp.where(values[None] > 0, drawn, 0)
    steps = (drawn * deviation).astype(vectors.dtype) @ vectors.T
    moves = _own_moves(rule, instances, steps.reshape(*shape[:2], -1))
    moves = jax.vmap(lambda each: moves_within_orders(each, score, instances))(moves)
    sampled = jnp.concatenate([smoothed + moves, smoothed - moves])
    return sampled, (drawn / deviation).reshape(*shape[:2], -1)


def _orthogonal(key: jax.Array, count: int, dimensions: int) -> jax.Array:
    """Draw rows ``[count, dimensions]``, orthogonal as far as there are dimensions for it.

    The mean of their products is the identity, or is expected to be where there are fewer rows
    than dimensions. The law is Haar's: without the signs, QR would favour one side.
    """
    more, fewer = max(count, dimensions), min(count, dimensions)
    columns, triangle = jnp.linalg.qr(jax.random.normal(key, (more, fewer), jnp.float32))
    columns = math.sqrt(more) * columns * jnp.sign(jnp.diagonal(triangle))[None]
    return columns if count >= dimensions else columns.T


def _own_moves(rule: Any, instances: Shown, steps: jax.Array) -> jax.Array:
    """Move scores as they are, ``[K, B, n]``, to first order, by steps ``[K, B, P]``."""
    flat, unravel = ravel_pytree(rule)

    def move(inst: Shown, step: jax.Array) -> jax.Array:
        def score(flat: jax.Array) -> jax.Array:
            return unravel(flat)(inst).astype(jnp.float32)

        return jax.jvp(score, (flat,), (step,))[1]

    return jax.vmap(jax.vmap(move), in_axes=(None, 0))(instances, steps)


@jax.jit
def _combined(rule: Any, vectors: jax.Array, weights: jax.Array, values: jax.Array) -> Estimate:
    above, below = jnp.split(relative(values), 2)
    along = jnp.mean(((above - below) / 2)[..., None] * weights, axis=(0, 1))
    _, unravel = ravel_pytree(rule)
    return Estimate(jnp.mean(values), unravel(vectors @ along.astype(vectors.dtype)), {})
