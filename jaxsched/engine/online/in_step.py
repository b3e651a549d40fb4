"""All streams in step, each operation for all of them, by the kernel that their choices need."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsched.engine.online import quick, together
from jaxsched.engine.online.arrivals import Checked, streams_of
from jaxsched.engine.online.by_rule.crowd import Crowd
from jaxsched.engine.online.in_order import kernel as in_order
from jaxsched.engine.online.in_order import state as in_order_state
from jaxsched.engine.online.intervals import NUM_BUCKETS
from jaxsched.engine.online.lanes import Writing
from jaxsched.engine.online.queue import Waiting
from jaxsched.engine.online.state import Choices, Kernel, Limits, Records, Streams, Totals
from jaxsched.model.itl import ITL_EDGES_S


def is_quick(choices: Choices) -> bool:
    """Whether the quick kernel serves these choices."""
    is_vllm = choices.preemption == "recompute" and choices.victim == "by_policy"
    is_simple = choices.is_plain and not choices.prefill_first and choices.dynamic is None
    return is_vllm and is_simple and choices.admission in ("prompt", "chunk")


def wide(
    choices: Choices, given: Checked, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """Serve streams, one call an operation.

    Args:
      choices: what is compiled in.
      given: requests ``[B, n]``.
      limits: of the servers ``[B]``.
      until: float64 ``[B]`` seconds.

    Returns:
      Records ``[B, n]`` and totals ``[B]``, ``busy`` up to the end.
    """
    laid_out = streams_of(choices, given, limits, "scatter")
    one = jnp.minimum(jnp.max(limits.block_size), 1)
    edges = jnp.asarray(ITL_EDGES_S)
    return streams_first(*serve_in_step(choices, "scatter", one, *laid_out, limits, until, edges))


def serve_in_step(
    choices: Choices,
    writing: Writing,
    one: jax.Array,
    streams: Streams,
    order: jax.Array,
    waiting: Waiting | Crowd | None,
    limits: Limits,
    until: jax.Array,
    edges: jax.Array,
) -> tuple[Records, Totals]:
    """Serve to the end; to tell which tokens restarts lose, twice."""
    num_buckets = NUM_BUCKETS if choices.has_histogram else None

    def with_quick(waiting: Waiting | None) -> together.State:
        kernel = Kernel(streams, limits, choices, writing, edges, one)
        state = together.initial(streams, order, waiting, limits, choices, num_buckets)
        return quick.with_open_records(kernel, quick.advance(kernel, state, until))

    def with_in_order(choices: Choices, final_run: jax.Array | None) -> in_order_state.State:
        num_buckets = NUM_BUCKETS if choices.has_histogram else None
        kernel = Kernel(streams, limits, choices, writing, edges, one, final_run)
        state = in_order_state.initial(streams, order, waiting, limits, choices, num_buckets)
        return in_order.with_open_records(kernel, in_order.advance(kernel, state, until))

    if is_quick(choices):
        assert not isinstance(waiting, Crowd)  # dynamic rules are not quick
        state = with_quick(waiting)
    else:
        final_run = None
        if choices.preemption == "restart" and choices.has_histogram:
            first = with_in_order(choices._replace(has_histogram=False), None)
            final_run = first.records.preemptions
        state = with_in_order(choices, final_run)
    busy = state.totals.busy + (state.now - state.origin)
    return state.records, state.totals._replace(busy=busy)


def streams_first(records: Records, totals: Totals) -> tuple[Records, Totals]:
    """Turn flat rows of streams, ``[(n + 1) B]``, to ``[B, n]``."""
    num_streams = totals.steps.shape[0]

    def back(array: jax.Array) -> jax.Array:
        return array.reshape(-1, num_streams).T

    records = jax.tree.map(lambda array: back(array)[:, :-1], records)
    return records, totals._replace(histogram=jax.tree.map(back, totals.histogram))
