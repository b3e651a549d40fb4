"""How a rule's gradient is got: the contract, a relaxation, and noise on the scores."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxsched._simulate import simulate
from jaxsched.instance import Instance
from jaxsched.schedule import Schedule, Status
from jaxsched.tuning.objectives import Objective, mean_latency


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
    much as a small one, and steps do not depend on the unit.
    """

    def __call__(self, rule: Any, instances: Instance, key: jax.Array, /) -> Estimate:
        """Estimate value and gradient of ``rule`` on instances ``[B, n]``."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class WorkAhead:
    r"""Pathwise gradient through the work ahead of each request.

    .. math:: c_i = \frac{1}{M} \sum_j \sigma\big((z_i - z_j) / \tau\big)\, v_j + o_i

    :math:`z` are the rule's priorities, :math:`v` the volumes and :math:`\tau` the temperature:
    :math:`\sigma(\cdot)` is the soft fact that :math:`j` goes before :math:`i`. No noise and no
    simulation; sees volume but not packing, so it leads to ``smallest_volume``, not beyond.

    Attributes:
      temperature: :math:`\tau > 0`, in units of the priority.
      objective: what to make small; static.

    Source:
      Ours.
    """

    temperature: Any
    objective: Objective = dataclasses.field(default=mean_latency, metadata={"static": True})

    def __call__(self, rule: Any, instances: Instance, key: jax.Array) -> Estimate:
        """Estimate value and gradient; the key is not used."""
        del key
        return _pathwise(self, rule, instances)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ScoreNoise:
    r"""Antithetic Gaussian noise on the scores, with the hard simulator inside.

    .. math::
       \hat g = \frac1K \sum_k \frac{f(z + \sigma \epsilon_k) - f(z - \sigma \epsilon_k)}
       {2 \sigma \bar f}\, \epsilon_k^\top \frac{\partial z}{\partial \theta},
       \qquad \epsilon_k \sim N(0, I)

    Unbiased for the objective :math:`f` smoothed by the noise, up to :math:`\bar f`, the mean of
    the samples, which turns it into the gradient of the logarithm. Each instance is simulated
    :math:`2K` times. Sees all that the simulator does.

    Attributes:
      noise: :math:`\sigma > 0`, in units of the priority.
      pairs: :math:`K`; static.
      objective: what to make small; static.

    Source:
      Salimans, Ho, Chen, Sidor, Sutskever, *Evolution Strategies as a Scalable Alternative to
      Reinforcement Learning*, 2017, arXiv:1703.03864 (antithetic pairs); noise on scores rather
      than parameters is ours.
    """

    noise: Any
    pairs: int = dataclasses.field(default=3, metadata={"static": True})
    objective: Objective = dataclasses.field(default=mean_latency, metadata={"static": True})

    def __call__(self, rule: Any, instances: Instance, key: jax.Array) -> Estimate:
        """Estimate value and gradient from ``2 pairs`` simulations of each instance."""
        return _score_noise(self, rule, instances, key)


def default_estimator(objective: Objective = mean_latency) -> Estimator:
    """Make the estimator that :func:`js.tune` takes when none is given."""
    return WorkAhead(temperature=jnp.float32(0.2), objective=objective)


@jax.jit
def _pathwise(estimator: WorkAhead, rule: Any, instances: Instance) -> Estimate:
    def loss(rule: Any) -> tuple[jax.Array, jax.Array]:
        relaxed = jax.vmap(functools.partial(_relaxed, rule, estimator.temperature))(instances)
        values = estimator.objective(instances, relaxed)
        return jnp.mean(jnp.log(values)), jnp.mean(values)

    gradient, value = jax.grad(loss, has_aux=True)(rule)
    return Estimate(value, gradient, {})


def _relaxed(rule: Any, temperature: jax.Array, inst: Instance) -> Schedule:
    """Schedule of one instance ``[n]`` with the completions of the formula above."""
    score = rule(inst).astype(jnp.float32)
    volume = jnp.where(inst.is_real, inst.volume, 0)
    is_before = jax.nn.sigmoid((score[:, None] - score[None, :]) / temperature)
    start = (is_before @ volume) / inst.kv_capacity.astype(jnp.float32)
    completion = start + inst.output_tokens.astype(jnp.float32)
    return Schedule(start=start, completion=completion, status=jnp.int32(int(Status.OK)))


@jax.jit
def _score_noise(estimator: ScoreNoise, rule: Any, instances: Instance, key: jax.Array) -> Estimate:
    score, pull_back = jax.vjp(
        lambda rule: jax.vmap(lambda inst: rule(inst).astype(jnp.float32))(instances), rule
    )
    shape = (estimator.pairs, *score.shape)
    direction = jax.random.normal(key, shape, jnp.float32)
    step = jnp.asarray(estimator.noise, jnp.float32) * direction

    def value(score: jax.Array) -> jax.Array:
        return estimator.objective(instances, simulate(instances, score))

    above, below = (
        jax.vmap(value)(jnp.broadcast_to(score, shape) + each) for each in (step, -step)
    )
    level = jnp.mean(0.5 * (above + below), axis=0, keepdims=True)
    slope = (above - below) / (2 * estimator.noise * level)
    per_score = jnp.mean(slope[..., None] * direction, axis=0) / score.shape[0]
    (gradient,) = pull_back(per_score)
    return Estimate(jnp.mean(level), gradient, {})
