"""When requests arrive: a pure function of a key."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsched._lib.errors import reject, wrong_shape
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests


def poisson(key: jax.Array, inst: Instance, rate: Any) -> Requests:
    r"""Have the requests of a backlog arrive one after the other, as a Poisson process.

    .. math:: r_1 = 0,\ r_{i+1} = r_i + g_i,\ g_i \sim \mathrm{Exp}(\text{rate})

    The gaps are independent. Equal keys at two rates give the same arrivals on two scales. Stream
    i of a batch is the same whatever the batch.

    Args:
      key: a jax random key; equal keys give equal arrivals.
      inst: the lengths, ``[n]`` or ``[.., n]``; its KV capacity is not used.
      rate: mean requests a second > 0, one or one a stream ``[..]``.

    Returns:
      The requests ``[.., n]``, in the order of the instance.

    Raises:
      ValueError: a rate is not a finite number above 0, or has another shape.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=1000, batch=4)
      >>> reqs = js.workloads.poisson(jax.random.key(1), inst, rate=5.0)
      >>> reqs.prompt_tokens.shape, reqs.arrival_s[:, 0].tolist()
      ((4, 1000), [0.0, 0.0, 0.0, 0.0])
    """
    *leading, n = inst.is_real.shape
    with jax.enable_x64(True):
        if not isinstance(rate, Tracer):
            rate = np.asarray(rate, np.float64)
            is_bad = ~(np.isfinite(rate) & (rate > 0))
            reject("rate", rate, is_bad, "expected a finite number of requests a second > 0")
        if rate.shape not in ((), tuple(leading)):
            raise wrong_shape("rate", rate.shape, f"expected one number, or {tuple(leading)}")

        def gaps_of(key: jax.Array) -> jax.Array:
            # Draws of 64 bits do not lower inside the jit of a caller who is in 32-bit mode.
            return jax.random.exponential(key, (n,), jnp.float32).astype(jnp.float64)

        keys = jax.random.split(key, tuple(leading)) if leading else key
        for _ in leading:
            gaps_of = jax.vmap(gaps_of)
        of_each = jnp.broadcast_to(jnp.asarray(rate, jnp.float64), leading)
        gaps_s = gaps_of(keys).at[..., -1].set(0.0) / of_each[..., None]
        arrival_s = jnp.cumsum(jnp.roll(gaps_s, 1, axis=-1), axis=-1)
        arrival_s = jnp.where(inst.is_real, arrival_s, jnp.inf)
    return Requests(
        arrival_s=arrival_s,
        prompt_tokens=inst.prompt_tokens,
        output_tokens=inst.output_tokens,
        is_real=inst.is_real,
    )
