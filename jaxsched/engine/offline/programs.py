"""The compiled programs from a serving order, or from priorities, to schedules."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxsched.engine.offline import earliest_fit as _earliest_fit
from jaxsched.engine.offline import one_kernel as _one_kernel
from jaxsched.engine.offline import strict as _strict
from jaxsched.engine.offline.strict import Admission
from jaxsched.engine.order import serving_order
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import NOT_SCHEDULED, Schedule, Status

Discipline = Literal["strict", "earliest_fit"]
_KERNELS: dict[Discipline, ModuleType] = {"strict": _strict, "earliest_fit": _earliest_fit}

# One kernel: 32 instances fill the vector registers and their slots stay in the first-level
# cache. One call an operation: wide operations make up for the calls.
KERNEL_WIDTH, _KERNEL_ROWS = 32, 8
_WIDE_ROWS = 64


@functools.partial(jax.jit, static_argnames=("discipline", "admission"))
def from_order(
    inst: Instance,
    order: jax.Array,
    has_nan: jax.Array,
    max_num_seqs: jax.Array | None,
    discipline: Discipline,
    admission: Admission,
) -> Schedule:
    """Schedules ``[B, n]`` of requests served in ``order`` ``[B, n]``."""
    row = lax.broadcasted_iota(jnp.int32, order.shape, 0)
    empty = jnp.zeros_like(order)
    start = empty.at[row, order].set(
        starts_in_order(inst, order, max_num_seqs, discipline, admission),
        mode="promise_in_bounds",
        unique_indices=True,
        indices_are_sorted=False,
    )
    is_scheduled = inst.is_real & ~has_nan[:, None]
    return Schedule(
        start=jnp.where(is_scheduled, start, NOT_SCHEDULED),
        completion=jnp.where(is_scheduled, start + inst.output_tokens, NOT_SCHEDULED),
        status=jnp.where(has_nan, int(Status.NAN_PRIORITY), int(Status.OK)).astype(jnp.int32),
    )


def starts_in_order(
    inst: Instance,
    order: jax.Array,
    max_num_seqs: jax.Array | None,
    discipline: Discipline,
    admission: Admission,
) -> jax.Array:
    """Start rounds ``[B, n]`` by position in ``order`` ``[B, n]``; meaningless for padding."""
    prompt, output = (
        jnp.take_along_axis(jnp.where(inst.is_real, tokens, 0), order, axis=-1).T
        for tokens in (inst.prompt_tokens, inst.output_tokens)
    )
    static = discipline, admission
    start = lax.platform_dependent(
        *(prompt, output, inst.kv_capacity, max_num_seqs),
        cpu=functools.partial(_in_kernels if _one_kernel.is_available else _wide, *static),
        default=functools.partial(_wide, *static),
    )
    return start.T


@functools.partial(jax.jit, static_argnames=("discipline", "admission"))
def from_priority(
    inst: Instance,
    priority: jax.Array,
    max_num_seqs: jax.Array | None,
    discipline: Discipline,
    admission: Admission,
) -> Schedule:
    """Schedules of instances with any leading axes, as one program."""
    leading = inst.kv_capacity.shape
    inst, priority, max_num_seqs = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[len(leading) :]), (inst, priority, max_num_seqs)
    )
    has_nan = jnp.any(jnp.isnan(priority) & inst.is_real, axis=-1)
    priority = lax.optimization_barrier(priority)  # or XLA sorts constants while it compiles
    result = from_order(inst, serving_order(priority), has_nan, max_num_seqs, discipline, admission)
    return jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), result)


@functools.cache
def mappable(discipline: Discipline, admission: Admission) -> Any:
    """Make :func:`from_priority` widen its batch under vmap.

    Left to itself, vmap would turn the loops' bounds into masks, and every instance would pay
    for the most slots that any of them needs.
    """

    @custom_vmap
    def schedule(inst: Instance, priority: jax.Array, max_num_seqs: Any) -> Schedule:
        return from_priority(inst, priority, max_num_seqs, discipline, admission)

    @schedule.def_vmap
    def _(axis_size: int, is_mapped: Any, *args: Any) -> Any:
        def widened(leaf: jax.Array, mapped: bool) -> jax.Array:
            return leaf if mapped else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))

        result = schedule(*jax.tree.map(widened, args, tuple(is_mapped)))
        return result, jax.tree.map(lambda _: True, result)

    return schedule


def _wide(
    discipline: Discipline,
    admission: Admission,
    prompt: jax.Array,
    output: jax.Array,
    kv_capacity: jax.Array,
    max_num_seqs: jax.Array | None,
) -> jax.Array:
    """Start rounds ``[n, B]`` of all instances in step, one call an operation."""
    kernel = _KERNELS[discipline]
    slots = kernel.empty_slots(prompt.shape, _WIDE_ROWS)
    args = prompt, output, kv_capacity, max_num_seqs, slots, jnp.zeros_like(prompt)
    return kernel.start_rounds(*args, admission=admission, rows=_WIDE_ROWS)


def _in_kernels(
    discipline: Discipline, admission: Admission, prompt: jax.Array, *args: Any
) -> jax.Array:
    """Start rounds ``[n, B]``, a group of instances in step, each group as one kernel."""
    kernel = _KERNELS[discipline]
    n, num_instances = prompt.shape
    width = min(num_instances, KERNEL_WIDTH)

    def grouped(array: jax.Array) -> jax.Array:
        """[.., B] -> [groups, .., width]; instances filled in have no tokens to schedule."""
        missing = [(0, 0)] * (array.ndim - 1) + [(0, -num_instances % width)]
        return jnp.moveaxis(jnp.pad(array, missing).reshape(*array.shape[:-1], -1, width), -2, 0)

    call = functools.partial(kernel.start_rounds, admission=admission, rows=_KERNEL_ROWS)
    slots = kernel.empty_slots((n, width), _KERNEL_ROWS)
    start = jnp.zeros((n, width), jnp.int32)
    starts = lax.map(
        lambda group: _one_kernel.as_one_kernel(call, *group, slots, start),
        jax.tree.map(grouped, (prompt, *args)),
    )
    return jnp.moveaxis(starts, 0, -2).reshape(n, -1)[:, :num_instances]
