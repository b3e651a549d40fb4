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
from jaxsched.engine.online import quick, together
from jaxsched.engine.online.arrivals import Arrivals, Checked, checked, streams_of
from jaxsched.engine.online.in_order import kernel as in_order
from jaxsched.engine.online.in_order import state as in_order_state
from jaxsched.engine.online.intervals import NUM_BUCKETS
from jaxsched.engine.online.lanes import Writing
from jaxsched.engine.online.queue import Waiting
from jaxsched.engine.online.state import Choices, Kernel, Limits, Records, Streams, Totals
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


def is_quick(choices: Choices) -> bool:
    """Whether the quick kernel serves these choices."""
    is_vllm = choices.preemption == "recompute" and choices.victim == "by_policy"
    is_simple = choices.is_plain and not choices.prefill_first
    return is_vllm and is_simple and choices.admission in ("prompt", "chunk")


@functools.cache
def by_stream(choices: Choices) -> Callable[..., Served]:
    """Make :func:`_serve` a program of streams, with any leading axes."""
    return over_instances(functools.partial(_serve, choices=choices))


@functools.partial(jax.jit, static_argnames=("choices",))
def _serve(arrivals: Arrivals, limits: Limits, until: jax.Array, choices: Choices) -> Served:
    given = checked(arrivals, limits)
    form = _in_groups if one_kernel.is_available else _wide
    records, totals = lax.platform_dependent(
        *(given, limits, until),
        cpu=functools.partial(form, choices),
        default=functools.partial(_wide, choices),
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


def _wide(
    choices: Choices, given: Checked, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """All streams in step, one call an operation."""
    laid_out = streams_of(choices, given, limits)
    one = jnp.minimum(jnp.max(limits.block_size), 1)
    edges = jnp.asarray(ITL_EDGES_S)
    return _by_stream(*_run(choices, "scatter", one, *laid_out, limits, until, edges))


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
        laid_out = streams_of(choices, given, limits)
        one = jnp.minimum(laid_out[0].prompt[0], 1)
        run = functools.partial(_run, choices, "loop")
        edges = jnp.asarray(ITL_EDGES_S)
        return _by_stream(*one_kernel.as_one_kernel(run, one, *laid_out, limits, until, edges))

    parts = lax.map(group, jax.tree.map(grouped, (given, limits, until)))
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:])[:num_streams], parts)


def _by_stream(records: Records, totals: Totals) -> tuple[Records, Totals]:
    """Flat rows of streams, ``[(n + 1) B]``, to ``[B, n]``."""
    num_streams = totals.steps.shape[0]

    def back(array: jax.Array) -> jax.Array:
        return array.reshape(-1, num_streams).T

    records = jax.tree.map(lambda array: back(array)[:, :-1], records)
    return records, totals._replace(histogram=jax.tree.map(back, totals.histogram))


def _run(
    choices: Choices,
    writing: Writing,
    one: jax.Array,
    streams: Streams,
    order: jax.Array,
    waiting: Waiting | None,
    limits: Limits,
    until: jax.Array,
    edges: jax.Array,
) -> tuple[Records, Totals]:
    """Serve to the end; to tell which tokens restarts lose, twice."""
    num_buckets = NUM_BUCKETS if choices.has_histogram else None

    def with_quick() -> together.State:
        kernel = Kernel(streams, limits, choices, writing, edges, one)
        state = together.initial(streams, order, waiting, limits, choices, num_buckets)
        return quick.with_open_records(kernel, quick.advance(kernel, state, until))

    def with_in_order(choices: Choices, final_run: jax.Array | None) -> in_order_state.State:
        num_buckets = NUM_BUCKETS if choices.has_histogram else None
        kernel = Kernel(streams, limits, choices, writing, edges, one, final_run)
        state = in_order_state.initial(streams, order, waiting, limits, choices, num_buckets)
        return in_order.with_open_records(kernel, in_order.advance(kernel, state, until))

    if is_quick(choices):
        state = with_quick()
    else:
        final_run = None
        if choices.preemption == "restart" and choices.has_histogram:
            first = with_in_order(choices._replace(has_histogram=False), None)
            final_run = first.records.preemptions
        state = with_in_order(choices, final_run)
    busy = state.totals.busy + (state.now - state.origin)
    return state.records, state.totals._replace(busy=busy)
