"""The forms in which placements run: one call an operation, or one function on the CPU."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.contract import Admission, Placement, Queues
from jaxsched.engine.offline.one_kernel import as_one_kernel

# One kernel: 32 instances fill the vector registers and their slots stay in the first-level
# cache. One call an operation: wide operations make up for the calls.
KERNEL_WIDTH, _KERNEL_ROWS = 32, 8
_WIDE_ROWS = 64


def wide(placement: Placement, admission: Admission, queues: Queues) -> jax.Array:
    """Place all instances in step, one call an operation."""
    n, num_instances = queues.prompt.shape
    slots = placement.empty_slots((n, num_instances), _WIDE_ROWS)
    start = jnp.zeros_like(queues.prompt)
    return placement.start_rounds(queues, slots, start, admission=admission, rows=_WIDE_ROWS)


def one_kernel_a_group(placement: Placement, admission: Admission, queues: Queues) -> jax.Array:
    """Place a group of instances in step, each group as one function; on CPUs only."""
    n, num_instances = queues.prompt.shape
    width = min(num_instances, KERNEL_WIDTH)

    def grouped(array: jax.Array) -> jax.Array:
        """[.., B] -> [groups, .., width]; instances filled in have no tokens to schedule."""
        missing = [(0, 0)] * (array.ndim - 1) + [(0, -num_instances % width)]
        return jnp.moveaxis(jnp.pad(array, missing).reshape(*array.shape[:-1], -1, width), -2, 0)

    place = functools.partial(placement.start_rounds, admission=admission, rows=_KERNEL_ROWS)
    slots = placement.empty_slots((n, width), _KERNEL_ROWS)
    start = jnp.zeros((n, width), jnp.int32)
    starts = lax.map(
        lambda group: as_one_kernel(place, group, slots, start), jax.tree.map(grouped, queues)
    )
    return jnp.moveaxis(starts, 0, -2).reshape(n, -1)[:, :num_instances]
