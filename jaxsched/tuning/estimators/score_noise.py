"""Antithetic noise on the scores, plain and with a relaxation as control variate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched._lib.pytree import pytree, static
from jaxsched.model.instance import Instance
from jaxsched.tuning.estimators.estimate import (
    Antithetic,
    Cases,
    Estimate,
    Shown,
    hard_values,
    pulled_back,
    relative,
    scores,
    units,
    within_orders,
)
from jaxsched.tuning.estimators.pathwise import score_slopes
from jaxsched.tuning.relaxations import Relaxation, hard_evaluations, memory_balance
from jaxsched.tuning.traffic import require_backlogs, shown_to_rules


@pytree
class ScoreNoise(Antithetic):
    r"""Antithetic Gaussian noise on the scores, with the hard simulator inside.

    .. math::
       \hat g = \frac1K \sum_k \frac{f(z + \sigma \epsilon_k) - f(z - \sigma \epsilon_k)}
       {2 \sigma \bar f}\, \epsilon_k^\top \frac{\partial z}{\partial \theta},
       \qquad \epsilon_k \sim N(0, I)

    less the part that shifts all scores alike or scales their spread, which is noise. Unbiased
    for the objective :math:`f` smoothed by the noise, up to :math:`\bar f`, the mean of
    the samples, which turns it into the gradient of the logarithm. Each instance is simulated
    :math:`2K` times. Sees all that the simulator does.

    Attributes:
      noise: :math:`\sigma > 0`, in standard deviations of an instance's scores.
      pairs: :math:`K`; static.
      objective: what to make small; static.

    Source:
      Salimans, Ho, Chen, Sidor, Sutskever, *Evolution Strategies as a Scalable Alternative to
      Reinforcement Learning*, 2017, arXiv:1703.03864 (antithetic pairs); noise on scores rather
      than parameters is ours.
    """

    def __call__(self, rule: Any, instances: Cases, key: jax.Array) -> Estimate:
        """Estimate value and gradient from ``2 pairs`` simulations of each instance."""
        seen = shown_to_rules(instances)
        score = scores(rule, seen)
        direction, sampled = _sampled(self, score, seen, key)
        values = hard_values(self.objective, instances, sampled)
        slopes = _plain(self, score, seen, direction, values)
        return Estimate(jnp.mean(values), pulled_back(rule, seen, slopes), {})


@pytree
class GuidedNoise(Antithetic):
    r"""Score noise with the slopes of a relaxation to guide it.

    With :math:`D_k` the difference quotients of :class:`ScoreNoise` and :math:`h` the gradient of
    the relaxation in the scores,

    .. math:: \hat g = \frac{\partial z}{\partial \theta}^\top \Big(\beta h
              + \frac1K \sum_k (D_k - \beta\, h^\top \epsilon_k)\, \epsilon_k\Big)

    As :math:`E[\epsilon \epsilon^\top] = I`, what is added has mean 0: the estimate is as unbiased
    as that of :class:`ScoreNoise` whatever the relaxation's bias. :math:`\beta` is the
    least-squares fit of :math:`D` to :math:`h^\top \epsilon` over the *other* instances, so that
    it does not depend on an instance's own noise; a lone instance has :math:`\beta = 0`.

    Attributes:
      noise: :math:`\sigma > 0`, in standard deviations of an instance's scores.
      pairs: :math:`K`; static.
      objective: what to make small; static. Clocks cannot time a relaxation.
      temperature: :math:`\tau > 0` of the relaxation, in the unit of the noise.
      relaxation: what guides, from :mod:`jaxsched.tuning.relaxations`; static.

    Source:
      Ours; control variates as in Grathwohl, Choi, Wu, Roeder, Duvenaud, *Backpropagation through
      the Void*, 2018, arXiv:1711.00123.
    """

    temperature: Any = 0.2
    relaxation: Relaxation = static(default=memory_balance)

    @property
    def simulations(self) -> int:
        """Hard evaluations of each instance in a call, the relaxation's included."""
        return 2 * self.pairs + hard_evaluations(self.relaxation)

    def __call__(self, rule: Any, instances: Any, key: jax.Array) -> Estimate:
        """Estimate value and gradient from ``2 pairs`` simulations and the relaxation's."""
        require_backlogs(self, instances)
        score = scores(rule, instances)
        direction, sampled = _sampled(self, score, instances, key)
        values = hard_values(self.objective, instances, sampled)
        _, guide = score_slopes(self.relaxation, self.objective, self.temperature, score, instances)
        slopes, diagnostics = _guided(self, score, instances, direction, values, guide)
        gradient = pulled_back(rule, instances, slopes)
        return Estimate(jnp.mean(values), gradient, diagnostics)


@jax.jit
def _sampled(
    estimator: Any, score: jax.Array, instances: Shown, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Directions ``[K, B, n]`` and priorities ``[2 K, B, n]``."""
    direction = jax.random.normal(key, (estimator.pairs, *score.shape), jnp.float32)
    step = _deviation(estimator, score, instances)[None, :, None] * direction
    return direction, jnp.concatenate([score[None] + step, score[None] - step])


def _deviation(estimator: Any, score: jax.Array, instances: Shown) -> jax.Array:
    """Say how much noise scores ``[B, n]`` get: standard deviations ``[B]``."""
    return jnp.asarray(estimator.noise, jnp.float32) * units(score, instances)


def _quotients(deviation: jax.Array, values: jax.Array) -> jax.Array:
    """Difference quotients ``[K, B]`` of the logarithm."""
    above, below = jnp.split(relative(values), 2)
    return (above - below) / (2 * deviation[None])


@jax.jit
def _plain(
    estimator: ScoreNoise,
    score: jax.Array,
    instances: Shown,
    direction: jax.Array,
    values: jax.Array,
) -> jax.Array:
    hard = _quotients(_deviation(estimator, score, instances), values)
    return within_orders(jnp.mean(hard[..., None] * direction, axis=0), score, instances)


@jax.jit
def _guided(
    estimator: GuidedNoise,
    score: jax.Array,
    instances: Instance,
    direction: jax.Array,
    values: jax.Array,
    guide: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    hard = _quotients(_deviation(estimator, score, instances), values)
    relaxed = jnp.sum(direction * guide[None], axis=-1)
    unit = units(score, instances)[None]  # without it, flat scores would rule the fit
    coefficient = _fitted_to_others(hard * unit, relaxed * unit)
    rest = hard - coefficient[None] * relaxed
    slopes = coefficient[:, None] * guide + jnp.mean(rest[..., None] * direction, axis=0)
    explained = 1 - jnp.sum((rest * unit) ** 2) / jnp.maximum(jnp.sum((hard * unit) ** 2), 1e-30)
    slopes = within_orders(slopes, score, instances)
    return slopes, {"coefficient": coefficient, "explained": explained}


def _fitted_to_others(hard: jax.Array, relaxed: jax.Array) -> jax.Array:
    """Least-squares coefficients ``[B]``, each without the instance's own samples."""

    def others(each: jax.Array) -> jax.Array:
        own = jnp.sum(each, axis=0)
        return jnp.sum(own) - own

    square = others(relaxed**2)
    return jnp.where(square > 0, others(hard * relaxed) / jnp.maximum(square, 1e-30), 0.0)
