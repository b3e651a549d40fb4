"""When requests arrived, also in a backlog."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.engine.contract import Observation


def arrival_s(inst: Any) -> jax.Array:
    """Seconds, float32 ``[n]``; 0 in a backlog, where everybody is there from the start."""
    if isinstance(inst, Observation):
        return inst.arrival_s
    return jnp.zeros(inst.prompt_tokens.shape, jnp.float32)
