"""Gradients through a relaxation: no noise, no simulation, but a bias."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.instance import Instance
from jaxsched.schedule import Schedule, Status
from jaxsched.tuning._estimate import Estimate, Relaxation, pulled_back, scores
from jaxsched.tuning.objectives import Objective, mean_latency
from jaxsched.tuning.relaxations import fluid, work_ahead


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class WorkAhead:
    r"""Pathwise gradient through :func:`jaxsched.tuning.relaxations.work_ahead`.

    Sees volume but not packing, so it leads to ``smallest_volume``, not beyond.

    Attributes:
      temperature: :math:`\tau > 0`, in units of the priority.
      objective: what to make small; static.
    """

    temperature: Any
    objective: Objective = dataclasses.field(default=mean_latency, metadata={"static": True})

    @property
    def simulations(self) -> int:
        """Hard evaluations of each instance in a call."""
        return 0

    def __call__(self, rule: Any, instances: Instance, key: jax.Array) -> Estimate:
        """Estimate value and gradient; the key is not used."""
        del key
        return _pathwise(work_ahead, self.objective, self.temperature, rule, instances)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Fluid:
    r"""Pathwise gradient through :func:`jaxsched.tuning.relaxations.fluid`.

    Attributes:
      temperature: :math:`\tau > 0`, in units of the priority.
      objective: what to make small; static.
    """

    temperature: Any
    objective: Objective = dataclasses.field(default=mean_latency, metadata={"static": True})

    @property
    def simulations(self) -> int:
        """Hard evaluations of each instance in a call."""
        return 0

    def __call__(self, rule: Any, instances: Instance, key: jax.Array) -> Estimate:
        """Estimate value and gradient; the key is not used."""
        del key
        return _pathwise(fluid, self.objective, self.temperature, rule, instances)


def score_slopes(
    relaxation: Relaxation,
    objective: Objective,
    temperature: Any,
    score: jax.Array,
    instances: Instance,
) -> tuple[jax.Array, jax.Array]:
    """Values ``[B]`` of the relaxed objective and the slopes ``[B, n]`` of its logarithm."""

    def value(score: jax.Array, inst: Instance) -> tuple[jax.Array, jax.Array]:
        completion = relaxation(score, inst, temperature)
        start = completion - inst.output_tokens.astype(jnp.float32)
        relaxed = Schedule(start=start, completion=completion, status=jnp.int32(int(Status.OK)))
        found = objective(inst, relaxed)
        return jnp.log(found), found

    slopes, values = jax.vmap(jax.grad(value, has_aux=True))(score, instances)
    return values, slopes


@functools.partial(jax.jit, static_argnums=(0, 1))
def _pathwise(
    relaxation: Relaxation, objective: Objective, temperature: Any, rule: Any, instances: Instance
) -> Estimate:
    score = scores(rule, instances)
    values, slopes = score_slopes(relaxation, objective, temperature, score, instances)
    return Estimate(jnp.mean(values), pulled_back(rule, instances, slopes), {})
