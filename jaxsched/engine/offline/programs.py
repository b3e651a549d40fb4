"""The compiled programs from a serving order, or from priorities, to schedules."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.instances import over_instances
from jaxsched.engine.contract import Admission, Discipline, Kernel, Placement, Queues
from jaxsched.engine.offline import earliest_fit, one_kernel, strict
from jaxsched.engine.offline.gpu.dispatch import one_program_an_instance
from jaxsched.engine.offline.kernels import one_kernel_a_group, wide
from jaxsched.engine.order import serving_order
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import NOT_SCHEDULED, Schedule, Status

_PLACEMENTS: dict[Discipline, Placement] = {"strict": strict, "earliest_fit": earliest_fit}


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
    queues = Queues(prompt, output, inst.kv_capacity, max_num_seqs)
    if jax.default_backend() == "cpu":
        one_kernel.warn_if_untested()
    on_cpu: Kernel = one_kernel_a_group if one_kernel.is_available else wide
    static = _PLACEMENTS[discipline], admission
    start = lax.platform_dependent(
        queues,
        cpu=functools.partial(on_cpu, *static),
        default=functools.partial(one_program_an_instance, *static),
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
    """Schedules ``[B, n]`` of requests served by ``priority`` ``[B, n]``."""
    has_nan = jnp.any(jnp.isnan(priority) & inst.is_real, axis=-1)
    priority = lax.optimization_barrier(priority)  # or XLA sorts constants while it compiles
    return from_order(inst, serving_order(priority), has_nan, max_num_seqs, discipline, admission)


@functools.cache
def by_priority(discipline: Discipline, admission: Admission) -> Callable[..., Schedule]:
    """Make :func:`from_priority` a program of instances, with any leading axes."""
    static = {"discipline": discipline, "admission": admission}
    return over_instances(functools.partial(from_priority, **static))
