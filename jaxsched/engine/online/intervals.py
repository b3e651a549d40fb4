"""Times between tokens, counted in the buckets of :mod:`jaxsched.model.itl`."""

from __future__ import annotations

import math
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxsched.engine.online.lanes import Writing, look_up, put, take
from jaxsched.engine.online.state import Totals
from jaxsched.model.itl import ITL_EDGES_S

NUM_BUCKETS = ITL_EDGES_S.size - 1
_A_UNIT = NUM_BUCKETS / math.log(ITL_EDGES_S[-1] / ITL_EDGES_S[0])


class _Kernel(Protocol):
    @property
    def edges(self) -> jax.Array: ...

    @property
    def writing(self) -> Writing: ...


def bucket_of(edges: jax.Array, itl: jax.Array) -> jax.Array:
    """Find the bucket of each time between tokens, float64 seconds ``[B]`` to int32 ``[B]``."""
    ratio = itl.astype(jnp.float32) * jnp.float32(1.0 / ITL_EDGES_S[0])
    near = jnp.log(ratio) * jnp.float32(_A_UNIT)  # right but for the very edges
    bucket = jnp.minimum(jnp.maximum(near, 0.0), NUM_BUCKETS - 1.0).astype(jnp.int32)
    is_below = itl < look_up(edges, bucket)
    is_above = itl >= look_up(edges, bucket + 1)
    bucket = bucket - is_below.astype(jnp.int32) + is_above.astype(jnp.int32)
    return jnp.minimum(jnp.maximum(bucket, 0), NUM_BUCKETS - 1)


def count(kernel: _Kernel, totals: Totals, itl: jax.Array, times: jax.Array) -> Totals:
    """Count the time ``itl [B]`` so many ``times [B]``."""
    assert totals.histogram is not None
    bucket = bucket_of(kernel.edges, itl)
    counted = take(totals.histogram, bucket) + times
    (histogram,) = put(kernel.writing, times > 0, (totals.histogram, bucket, counted))
    return totals._replace(histogram=histogram)
