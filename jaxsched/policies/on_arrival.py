"""What is known of requests when they arrive."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.engine.contract import Observation
from jaxsched.engine.online.arrivals import first_arrival
from jaxsched.engine.online.serve import numbered_clients, predicted_tokens
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server


def own_priority(reqs: Requests) -> Any:
    """Return the requests' own priorities ``[.., n]``; all alike where they name none."""
    return jnp.zeros_like(reqs.prompt_tokens) if reqs.priority is None else reqs.priority


def on_arrival(reqs: Requests, server: Server) -> Observation:
    """Show a static rule what is known of the requests when they arrive."""
    leading = np.broadcast_shapes(reqs.is_real.shape[:-1], np.shape(server.kv_capacity))
    shape = (*leading, reqs.is_real.shape[-1])
    with jax.enable_x64(True):  # subtracted before the seconds are rounded to 32 bits
        arrival = jnp.asarray(reqs.arrival_s, jnp.float64)
        arrival_s = (arrival - first_arrival(arrival)[..., None]).astype(jnp.float32)
    none, real = jnp.zeros(shape, jnp.int32), jnp.float32

    def of_requests(values: Any, dtype: Any) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(values).astype(dtype), shape)

    return Observation(
        prompt_tokens=of_requests(reqs.prompt_tokens, jnp.int32),
        output_tokens=of_requests(predicted_tokens(reqs), jnp.int32),
        is_real=of_requests(reqs.is_real, bool),
        kv_capacity=jnp.broadcast_to(jnp.asarray(server.kv_capacity, jnp.int32), leading),
        arrival_s=of_requests(arrival_s, jnp.float32),
        priority=of_requests(own_priority(reqs), jnp.float32),
        client=of_requests(numbered_clients(reqs), jnp.int32),
        ttft_slo_s=of_requests(jnp.inf if reqs.ttft_slo_s is None else reqs.ttft_slo_s, real),
        tpot_slo_s=of_requests(jnp.inf if reqs.tpot_slo_s is None else reqs.tpot_slo_s, real),
        now_s=jnp.zeros(leading, jnp.float32),
        waited_s=jnp.zeros(shape, jnp.float32),
        generated_tokens=none,
        computed_tokens=none,
        is_running=jnp.zeros(shape, bool),
    )
