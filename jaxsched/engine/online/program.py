"""From requests and servers to outcomes: checks on arrival, then a kernel, in groups of streams.

64 bits are switched on for what is traced here, whatever the caller's setting, so it runs inside a
``jit`` of 32 bits as well. Under ``vmap`` streams become more streams, and loops stay loops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from jaxsched._lib.instances import over_instances
from jaxsched.engine.offline import one_kernel
from jaxsched.engine.online.arrivals import Arrivals, Checked, checked, streams_of
from jaxsched.engine.online.by_rule.asking import is_by_row
from jaxsched.engine.online.gpu.dispatch import one_program_a_stream
from jaxsched.engine.online.in_step import serve_in_step, streams_first, wide
from jaxsched.engine.online.state import Choices, Limits, Records, Totals
from jaxsched.model.itl import ITL_EDGES_S
from jaxsched.model.schedule import Status

KERNEL_WIDTH = 32  # streams in step in one compiled function: their seats stay in the caches


class Served(NamedTuple):
    """What became of requests ``[B, n]``, and of streams ``[B]``, named as in an Outcome."""

    first_scheduled: jax.Array  # float64 seconds, NaN where it has not happened; likewise:
    first_token: jax.Array
    completion: jax.Array
    max_itl: jax.Array
    num_preemptions: jax.Array  # int32
    status: jax.Array  # int32
    itl_histogram: jax.Array | None  # int32 [B, buckets]
    num_steps: jax.Array  # int64
    recomputed_tokens: jax.Array  # int64
    busy: jax.Array  # float64
    peak_kv_tokens: jax.Array  # int32
    kv_token_time: jax.Array  # float64


def serve_streams(
    arrivals: Arrivals, limits: Limits, choices: Choices, until: Any = jnp.inf
) -> Served:
    """Serve every stream on a server of its own.

    Args:
      arrivals: ``[B, n]``; traced ones with any leading axes.
      limits: numbers of the servers, ``[B]``, likewise.
      choices: what is compiled in.
      until: float64 seconds, for all or ``[B]``; no step begins then or later.

    Returns:
      What became of the requests.
    """
    with jax.enable_x64(True):
        limits = jax.tree.map(jnp.asarray, limits)
        until = jnp.broadcast_to(jnp.asarray(until, jnp.float64), limits.block_size.shape)
        # Numbers need no rules for traces, which are traced anew in every call.
        given = arrivals, limits, until
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(given)):
            return by_stream(choices)(limits.block_size.ndim, *given)
        return _serve(*given, choices)


@functools.cache
def by_stream(choices: Choices) -> Callable[..., Served]:
    """Make :func:`_serve` a program of streams, with any leading axes."""
    return over_instances(functools.partial(_serve, choices=choices))


@functools.partial(jax.jit, static_argnames=("choices",))
def _serve(arrivals: Arrivals, limits: Limits, until: jax.Array, choices: Choices) -> Served:
    given = checked(arrivals, limits)
    on_cpu = _in_groups if one_kernel.is_available and _is_compiled(choices, given) else wide
    records, totals = lax.platform_dependent(
        *(given, limits, until),
        cpu=functools.partial(on_cpu, choices),
        default=functools.partial(one_program_a_stream, choices),
    )
    status = jnp.where(jnp.isnan(records.completion), totals.status[:, None], int(Status.OK))
    status = jnp.where(given.has_nan[:, None], int(Status.NAN_PRIORITY), status)
    status = jnp.where(given.is_refused, int(Status.REFUSED), status)
    return Served(
        first_scheduled=records.first_scheduled,
        first_token=records.first_token,
        completion=records.completion,
        max_itl=records.max_itl,
        num_preemptions=records.preemptions,
        status=status.astype(jnp.int32),
        itl_histogram=totals.histogram,
        num_steps=totals.steps,
        recomputed_tokens=totals.recomputed,
        busy=totals.busy,
        peak_kv_tokens=totals.peak,
        kv_token_time=totals.token_seconds,
    )


def _is_compiled(choices: Choices, given: Checked) -> bool:
    """Whether one compiled function can hold it all, the caller's rule too."""
    watched, n = given.arrivals.watched, given.is_served.shape[1]
    if choices.dynamic is None or watched is None:
        return True
    return is_by_row(choices.dynamic, watched.leaves, n)


def _in_groups(
    choices: Choices, given: Checked, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """Serve a group of streams in step, each group as one compiled function."""
    num_streams = limits.block_size.shape[0]
    width = min(num_streams, KERNEL_WIDTH)

    def grouped(array: jax.Array) -> jax.Array:
        filler = jnp.repeat(array[-1:], -num_streams % width, axis=0)
        return jnp.concatenate([array, filler]).reshape(-1, width, *array.shape[1:])

    def group(part: Any) -> tuple[Records, Totals]:
        given, limits, until = part
        laid_out = streams_of(choices, given, limits, "loop")
        one = jnp.minimum(laid_out[0].prompt[0], 1)
        run = functools.partial(serve_in_step, choices, "loop")
        edges = jnp.asarray(ITL_EDGES_S)
        return streams_first(*one_kernel.as_one_kernel(run, one, *laid_out, limits, until, edges))

    parts = lax.map(group, jax.tree.map(grouped, (given, limits, until)))
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:])[:num_streams], parts)
