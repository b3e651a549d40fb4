"""The contract of an estimator, and what those that simulate have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxsched._simulate import simulate
from jaxsched.instance import Instance
from jaxsched.tuning.objectives import Objective


class Estimate(NamedTuple):
    """What an estimator found.

    Attributes:
      value: float ``[]``, mean objective over the instances.
      gradient: a pytree like the rule.
      diagnostics: anything worth knowing, arrays by name; may be dropped.
    """

    value: jax.Array
    gradient: Any
    diagnostics: dict[str, Any]


class Estimator(Protocol):
    """A way to a gradient: a frozen pytree whose ``temperature`` and ``noise`` are leaves.

    The gradient is that of the mean *logarithm* of the objective: a large instance counts as
    much as a small one, and steps do not depend on the unit. Estimators that simulate divide
    by the mean of an instance's samples instead of taking the logarithm of each.
    """

    def __call__(self, rule: Any, instances: Instance, key: jax.Array, /) -> Estimate:
        """Estimate value and gradient of ``rule`` on instances ``[B, n]``."""
        ...


def scores(rule: Any, instances: Instance) -> jax.Array:
    """Priorities of instances ``[B, n]`` as float32 ``[B, n]``."""
    return jax.vmap(lambda inst: rule(inst).astype(jnp.float32))(instances)


def pulled_back(rule: Any, instances: Instance, per_score: jax.Array) -> Any:
    """Gradient in the rule's leaves of the mean over instances, from ``[B, n]`` in the scores."""
    _, pull_back = jax.vjp(lambda rule: scores(rule, instances), rule)
    return pull_back(per_score / per_score.shape[0])[0]


def hard_values(objective: Objective, instances: Instance, sampled: jax.Array) -> jax.Array:
    """Objective of simulated schedules, float32 ``[S, B]``, for priorities ``[S, B, n]``.

    Samples are folded into the instances, and the call stays outside ``jit`` where its caller
    is: the simulator is fastest on one large concrete batch.
    """
    repeated = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (sampled.shape[0], *leaf.shape)), instances
    )
    return jnp.asarray(objective(repeated, simulate(repeated, sampled)), jnp.float32)


def relative(values: jax.Array) -> jax.Array:
    """Values ``[S, B]`` in units of the mean over an instance's samples."""
    return values / jnp.mean(values, axis=0, keepdims=True)


Relaxation = Callable[[jax.Array, Instance, Any], jax.Array]
