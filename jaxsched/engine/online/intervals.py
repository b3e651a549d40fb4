"""Times between tokens, counted in the buckets of :mod:`jaxsched.model.itl`."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.online.lanes import look_up, once, put, take
from jaxsched.engine.online.state import Kernel, Totals
from jaxsched.model.itl import ITL_EDGES_S

NUM_BUCKETS = ITL_EDGES_S.size - 1
_AN_OCTAVE = NUM_BUCKETS * math.log(2) / math.log(ITL_EDGES_S[-1] / ITL_EDGES_S[0])


def bucket_of(kernel: Kernel, itl: jax.Array) -> jax.Array:
    """Find the bucket of each time between tokens, float64 seconds ``[B]`` to int32 ``[B]``."""
    near = once(kernel.one, lambda: _near_bucket(itl))
    is_below = itl < look_up(kernel.edges, near)
    is_above = itl >= look_up(kernel.edges, near + 1)
    bucket = near - is_below.astype(jnp.int32) + is_above.astype(jnp.int32)
    return jnp.minimum(jnp.maximum(bucket, 0), NUM_BUCKETS - 1)


def _near_bucket(itl: jax.Array) -> jax.Array:
    """Find the bucket or one beside it: by a cubic, which is off by a fifteenth of a bucket.

    XLA's own logarithm is right to the last bit, and computed one number at a time.
    """
    ratio = itl.astype(jnp.float32) * jnp.float32(1.0 / ITL_EDGES_S[0])
    bits = lax.bitcast_convert_type(ratio, jnp.int32)
    octave = (bits >> 23) - 127
    one = lax.bitcast_convert_type((bits & (2**23 - 1)) | (127 << 23), jnp.float32)
    part = one - jnp.float32(1.0)
    bend = part * (jnp.float32(1.0) - part)
    part += bend * (jnp.float32(0.42286) - jnp.float32(0.15922) * part)
    near = (octave.astype(jnp.float32) + part) * jnp.float32(_AN_OCTAVE)
    return jnp.minimum(jnp.maximum(near, 0.0), NUM_BUCKETS - 1.0).astype(jnp.int32)


def count(kernel: Kernel, totals: Totals, bucket: jax.Array, times: jax.Array) -> Totals:
    """Count a time in ``bucket [B]`` so many ``times [B]``."""
    assert totals.histogram is not None
    counted = take(totals.histogram, bucket) + times
    (histogram,) = put(kernel.writing, times > 0, (totals.histogram, bucket, counted))
    return totals._replace(histogram=histogram)
