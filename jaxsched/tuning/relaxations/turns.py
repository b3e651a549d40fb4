"""The simulated schedule in order of turn, where relaxations start from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance


def starts_by_turn(score: jax.Array, inst: Instance) -> tuple[jax.Array, jax.Array]:
    """Simulate: starts ``[n]`` in order of turn, and who takes it; padding last, as the last."""
    hard = lax.stop_gradient(score)
    start = simulate(inst, hard).start
    order = jnp.argsort(jnp.where(inst.is_real, hard, jnp.inf), stable=True)
    last = jnp.max(jnp.where(inst.is_real, start, 0))
    return jnp.where(inst.is_real, start, last)[order].astype(jnp.float32), order
