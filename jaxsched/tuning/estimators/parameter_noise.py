"""Controls that know nothing of the rule's form: noise on the parameters themselves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsched._lib.pytree import pytree
from jaxsched.policies import rule_name
from jaxsched.tuning.estimators.estimate import (
    Antithetic,
    Cases,
    Estimate,
    Shown,
    hard_values,
    relative,
    scores,
)
from jaxsched.tuning.traffic import Traffic, is_dynamic, shown_to_rules


@pytree
class EvolutionStrategies(Antithetic):
    r"""Antithetic Gaussian noise on the parameters, the same for all instances.

    .. math:: \hat g = \frac1K \sum_k \operatorname{mean}_b
       \frac{f_b(\theta + \sigma \epsilon_k) - f_b(\theta - \sigma \epsilon_k)}
       {2 \sigma \bar f_b}\,\epsilon_k

    Attributes:
      noise: :math:`\sigma > 0`, in units of the parameters.
      pairs: :math:`K`; static. Each instance is simulated :math:`2K` times.
      objective: what to make small; static.

    Source:
      Salimans, Ho, Chen, Sidor, Sutskever, *Evolution Strategies as a Scalable Alternative to
      Reinforcement Learning*, 2017, arXiv:1703.03864.
    """

    def __call__(self, rule: Any, instances: Cases, key: jax.Array) -> Estimate:
        """Estimate value and gradient from ``2 pairs`` simulations of each instance."""
        direction, values = _evaluated(self, rule, instances, key)
        return _sloped(self.noise, rule, direction, values)


@pytree
class RandomSearch(Antithetic):
    r"""The best of a few random steps, as a descent direction; a control, not a gradient.

    Of :math:`\theta \pm \sigma \epsilon_k` the one with the least mean relative objective is
    taken; the gradient reported points away from it, and its length is :math:`|\epsilon|`.

    Attributes:
      noise: :math:`\sigma > 0`, in units of the parameters.
      pairs: :math:`K`; static. Each instance is simulated :math:`2K` times.
      objective: what to make small; static.

    Source:
      Bergstra, Bengio, *Random Search for Hyper-Parameter Optimization*, 2012, JMLR 13 (the idea).
    """

    def __call__(self, rule: Any, instances: Cases, key: jax.Array) -> Estimate:
        """Estimate value and direction from ``2 pairs`` simulations of each instance."""
        direction, values = _evaluated(self, rule, instances, key)
        return _best(rule, direction, values)


def _evaluated(
    estimator: Any, rule: Any, instances: Cases, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Directions ``[K, P]`` and values ``[2 K, B]``; dynamic rules are served one by one."""
    direction, moved = _moved(estimator, rule, key)
    if not is_dynamic(rule):
        sampled = _scores_of_moved(rule, shown_to_rules(instances), moved)
        return direction, hard_values(estimator.objective, instances, sampled)
    if not isinstance(instances, Traffic):
        raise TypeError(
            f"rule {rule_name(rule)!r} is dynamic, for requests at a server; give it those"
        )
    _, unravel = ravel_pytree(rule)
    values = [
        estimator.objective(instances.reqs, instances.outcome(unravel(each))) for each in moved
    ]
    return direction, jnp.asarray(np.stack(values), jnp.float32)


@jax.jit
def _moved(estimator: Any, rule: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Directions ``[K, P]`` and parameters ``[2 K, P]``."""
    flat, _ = ravel_pytree(rule)
    direction = jax.random.normal(key, (estimator.pairs, flat.size), flat.dtype)
    step = jnp.asarray(estimator.noise, flat.dtype) * direction
    return direction, jnp.concatenate([flat[None] + step, flat[None] - step])


@jax.jit
def _scores_of_moved(rule: Any, instances: Shown, moved: jax.Array) -> jax.Array:
    """Priorities ``[2 K, B, n]``."""
    _, unravel = ravel_pytree(rule)
    return jax.vmap(lambda each: scores(unravel(each), instances))(moved)


@jax.jit
def _sloped(noise: Any, rule: Any, direction: jax.Array, values: jax.Array) -> Estimate:
    above, below = jnp.split(jnp.mean(relative(values), axis=1), 2)
    slope = ((above - below) / (2 * jnp.asarray(noise, jnp.float32))).astype(direction.dtype)
    _, unravel = ravel_pytree(rule)
    return Estimate(jnp.mean(values), unravel(jnp.mean(slope[:, None] * direction, axis=0)), {})


@jax.jit
def _best(rule: Any, direction: jax.Array, values: jax.Array) -> Estimate:
    best = jnp.argmin(jnp.mean(relative(values), axis=1))
    _, unravel = ravel_pytree(rule)
    chosen = jnp.concatenate([direction, -direction])[best]
    return Estimate(jnp.mean(values), unravel(-chosen), {"best": best})
