"""Gradients through a relaxation: no noise, but a bias."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsched._lib.pytree import pytree, static
from jaxsched.model.instance import Instance
from jaxsched.tuning.estimators.estimate import (
    Estimate,
    Scheduled,
    pulled_back,
    scores,
    units,
    within_orders,
)
from jaxsched.tuning.objectives import Objective, mean_latency
from jaxsched.tuning.relaxations import Relaxation, hard_evaluations, memory_balance
from jaxsched.tuning.traffic import require_backlogs


@pytree
class Pathwise(Scheduled):
    r"""Gradient through a relaxation from :mod:`jaxsched.tuning.relaxations`.

    .. math:: \hat g = \operatorname{mean}_b \nabla_\theta \ln f_b\big(c(z_b / \sigma_b, \tau)\big)

    with the relaxed completions :math:`c` and the standard deviation :math:`\sigma_b` of an
    instance's scores :math:`z_b`.

    Attributes:
      temperature: :math:`\tau > 0`, in standard deviations of the scores.
      relaxation: how the outcome depends on scores; static.
      objective: what to make small; static.

    Source:
      Ours.
    """

    temperature: Any
    relaxation: Relaxation = static(default=memory_balance)
    objective: Objective = static(default=mean_latency)

    @property
    def simulations(self) -> int:
        """Hard evaluations of each instance in a call."""
        return hard_evaluations(self.relaxation)

    def __call__(self, rule: Any, instances: Any, key: jax.Array) -> Estimate:
        """Estimate value and gradient; the key is not used."""
        del key
        require_backlogs(self, instances)
        score = scores(rule, instances)
        values, slopes = score_slopes(
            self.relaxation, self.objective, self.temperature, score, instances
        )
        return Estimate(jnp.mean(values), pulled_back(rule, instances, slopes), {})


@functools.partial(jax.jit, static_argnums=(0, 1))
def score_slopes(
    relaxation: Relaxation,
    objective: Objective,
    temperature: Any,
    score: jax.Array,
    instances: Instance,
) -> tuple[jax.Array, jax.Array]:
    """Values ``[B]`` of the relaxed objective and the slopes ``[B, n]`` of its logarithm."""
    warmth = jnp.asarray(temperature, jnp.float32) * units(score, instances)

    def value(score: jax.Array, inst: Instance, warmth: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = objective(inst, relaxation(score, inst, warmth))
        return jnp.log(value), value

    slopes, values = jax.vmap(jax.grad(value, has_aux=True))(score, instances, warmth)
    return values, within_orders(slopes, score, instances)
