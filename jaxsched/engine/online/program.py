"""From requests and servers to outcomes: checks on arrival, then the kernel, in groups of streams."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.offline import one_kernel
from jaxsched.engine.online import quick
from jaxsched.engine.online.in_order import kernel as in_order
from jaxsched.engine.online.in_order import state as in_order_state
from jaxsched.engine.online.intervals import NUM_BUCKETS
from jaxsched.engine.online.lanes import Writing
from jaxsched.engine.online.queue import nobody_waits
from jaxsched.engine.online.state import Choices, Limits, Records, Streams, Totals
from jaxsched.engine.online.together import Kernel, initial
from jaxsched.model.itl import ITL_EDGES_S
from jaxsched.model.schedule import Status

KERNEL_WIDTH = 32  # streams in step in one compiled function: their seats stay in the caches


class Arrivals(NamedTuple):
    """Requests as the engine takes them, ``[B, n]``, by arrival.

    Attributes:
      arrival: float64 seconds, ascending; infinite for padding.
      prompt: int32 tokens.
      output: int32 tokens.
      predicted: int32 tokens, the output that admission and victims believe in.
      priority: any real numbers, lower first; read where the policy is "priority".
    """

    arrival: Any
    prompt: Any
    output: Any
    predicted: Any
    priority: Any


class Served(NamedTuple):
    """What became of them: ``[B, n]``, and from the histogram on of each stream, ``[B]``."""

    first_scheduled: jax.Array  # float64 seconds, NaN where it has not happened; likewise:
    first_token: jax.Array
    completion: jax.Array
    max_itl: jax.Array
    num_preemptions: jax.Array  # int32
    status: jax.Array  # int32
    itl_histogram: jax.Array  # int32 [B, buckets]
    num_steps: jax.Array  # int64
    recomputed_tokens: jax.Array  # int64
    busy: jax.Array  # float64
    peak_kv_tokens: jax.Array  # int32
    kv_token_time: jax.Array  # float64


def serve_streams(
    arrivals: Arrivals, limits: Limits, choices: Choices, until: Any = jnp.inf
) -> Served:
    """Serve every stream on a server of its own.

    Runs with 64 bits whatever the caller's setting, inside ``jit`` too.

    Args:
      arrivals: ``[B, n]``.
      limits: numbers of the servers, ``[B]``; :class:`~jaxsched.engine.online.sums.Cost` too.
      choices: what is compiled in.
      until: float64 seconds, no step begins then or later.

    Returns:
      What became of the requests.
    """
    with jax.enable_x64(True):
        return _serve(arrivals, limits, choices, jnp.asarray(until, jnp.float64))


@functools.partial(jax.jit, static_argnames=("choices",))
def _serve(arrivals: Arrivals, limits: Limits, choices: Choices, until: jax.Array) -> Served:
    arrivals = Arrivals(
        arrivals.arrival.astype(jnp.float64),
        *(tokens.astype(jnp.int32) for tokens in arrivals[1:4]),
        arrivals.priority,
    )
    refused = never_finishes(arrivals, limits)
    is_real = jnp.isfinite(arrivals.arrival)
    has_nan = jnp.zeros(limits.block_size.shape, bool)
    if jnp.issubdtype(arrivals.priority.dtype, jnp.floating):
        has_nan = jnp.any(jnp.isnan(arrivals.priority) & is_real, axis=-1)
    is_served = is_real & ~refused & ~has_nan[:, None]

    records, totals = lax.platform_dependent(
        arrivals, is_served, limits, until,
        cpu=functools.partial(_in_groups if one_kernel.is_available else _wide, choices),
        default=functools.partial(_wide, choices),
    )
    status = choose_status(records, totals, refused, has_nan)
    return Served(
        records.first_scheduled,
        records.first_token,
        records.completion,
        jnp.where(jnp.isnan(records.first_token), 0.0, records.max_itl),
        records.preemptions,
        status,
        totals.histogram,
        totals.steps,
        totals.recomputed,
        totals.busy,
        totals.peak,
        totals.token_seconds,
    )


def choose_status(
    records: Records, totals: Totals, refused: jax.Array, has_nan: jax.Array
) -> jax.Array:
    """The status of each request, int32 ``[B, n]``."""
    status = jnp.where(jnp.isnan(records.completion), totals.status[:, None], int(Status.OK))
    status = jnp.where(has_nan[:, None], int(Status.NAN_PRIORITY), status)
    return jnp.where(refused, int(Status.REFUSED), status).astype(jnp.int32)


def never_finishes(arrivals: Arrivals, limits: Limits) -> jax.Array:
    """Whether a request could not finish even alone, bool ``[B, n]``."""
    room = limits.max_model_len[:, None] - arrivals.prompt
    most = arrivals.prompt + jnp.minimum(arrivals.output, room) - 1
    blocks = -(-most // limits.block_size[:, None])
    is_cut = limits.is_chunked[:, None] | (most <= limits.token_budget[:, None])
    return (room < 1) | (blocks > limits.usable_blocks[:, None]) | ~is_cut


def ranks(priority: jax.Array, arrival: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Places in the queue, and classes of equals.

    Args:
      priority: ``[B, n]``, lower first.
      arrival: float64 ``[B, n]``, ascending.

    Returns:
      int32 ``[B, n]`` each: the rank of each request by (priority, arrival, index), the request
      of each rank, and the dense rank of each request by (priority, arrival), ties alike.
    """
    num_streams, n = priority.shape
    row = jnp.arange(num_streams)[:, None]
    by_rank = jnp.argsort(priority, axis=-1, stable=True).astype(jnp.int32)
    place = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), priority.shape)
    rank = jnp.zeros_like(place).at[row, by_rank].set(place, unique_indices=True)
    keys = (jnp.take_along_axis(key, by_rank, axis=-1) for key in (priority, arrival))
    differs = functools.reduce(jnp.logical_or, (key[:, 1:] != key[:, :-1] for key in keys))
    steps = jnp.cumsum(jnp.pad(differs, ((0, 0), (1, 0))), axis=-1, dtype=jnp.int32)
    return rank, by_rank, jnp.zeros_like(place).at[row, by_rank].set(steps, unique_indices=True)


def _wide(
    choices: Choices, arrivals: Arrivals, is_served: jax.Array, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """All streams in step, one call an operation."""
    given = _prepared(choices, arrivals, is_served, limits)
    one = jnp.minimum(jnp.max(limits.block_size), 1)
    edges = jnp.asarray(ITL_EDGES_S)
    return _by_stream(*_run(choices, "scatter", given, limits, until, edges, one))


def _in_groups(
    choices: Choices, arrivals: Arrivals, is_served: jax.Array, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """A group of streams in step, each group as one compiled function."""
    num_streams = is_served.shape[0]
    width = min(num_streams, KERNEL_WIDTH)

    def grouped(array: jax.Array) -> jax.Array:
        filler = jnp.repeat(array[-1:], -num_streams % width, axis=0)
        return jnp.concatenate([array, filler]).reshape(-1, width, *array.shape[1:])

    def group(given: Any) -> tuple[Records, Totals]:
        arrivals, is_served, limits = given
        given = _prepared(choices, arrivals, is_served, limits)
        one = jnp.minimum(given[0].prompt[0], 1)
        run = functools.partial(_run, choices, "loop")
        edges = jnp.asarray(ITL_EDGES_S)
        return _by_stream(*one_kernel.as_one_kernel(
            lambda one, *rest: run(*rest, one), one, given, limits, until, edges
        ))

    parts = lax.map(group, jax.tree.map(grouped, (arrivals, is_served, limits)))
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:])[:num_streams], parts)


def _prepared(
    choices: Choices, arrivals: Arrivals, is_served: jax.Array, limits: Limits
) -> tuple[Any, ...]:
    num_streams, n = is_served.shape

    def flat(array: jax.Array, last: Any) -> jax.Array:
        """[B, n] -> [(n + 1) B], with what stands for nobody."""
        return jnp.pad(array.T, ((0, 1), (0, 0)), constant_values=last).reshape(-1)

    room = limits.max_model_len[:, None] - arrivals.prompt
    order = jnp.argsort(~is_served, axis=-1, stable=True).astype(jnp.int32)
    count = jnp.sum(is_served, axis=-1, dtype=jnp.int32)
    order = flat(jnp.where(jnp.arange(n) < count[:, None], order, n), n)
    none = jnp.zeros_like(order)
    tier, waiting = none, None
    if choices.policy == "priority":
        rank, by_rank, tiers = ranks(arrivals.priority, arrivals.arrival)
        tier = flat(tiers, 0)
        waiting = nobody_waits(
            flat(rank, n), flat(by_rank, n), order, flat(arrivals.arrival, jnp.inf),
            limits.block_size,
        )
        order = none + n
    streams = Streams(
        arrival=flat(arrivals.arrival, jnp.inf),
        prompt=flat(arrivals.prompt, 1),
        final=flat(arrivals.prompt + jnp.minimum(arrivals.output, room) - 1, 1),
        predicted=flat(
            arrivals.prompt + jnp.maximum(jnp.minimum(arrivals.predicted, room), 1), 1
        ),
        tier=tier,
    )
    num_buckets = NUM_BUCKETS if choices.has_histogram else 0
    begin = initial if is_quick(choices) else in_order_state.initial
    return streams, begin(streams, order, waiting, limits, choices, num_buckets)


def is_quick(choices: Choices) -> bool:
    """Whether the quick kernel serves these choices."""
    is_vllm = choices.preemption == "recompute" and choices.victim == "by_policy"
    is_simple = choices.is_plain and not choices.prefill_first
    return is_vllm and is_simple and choices.admission in ("prompt", "chunk")


def _run(
    choices: Choices,
    writing: Writing,
    given: Any,
    limits: Limits,
    until: jax.Array,
    edges: jax.Array,
    one: jax.Array,
) -> tuple[Records, Totals]:
    streams, state = given
    until = jnp.broadcast_to(until, limits.block_size.shape)
    if is_quick(choices):
        kernel = Kernel(streams, limits, choices, writing, edges, one)
        state = quick.with_open_records(kernel, quick.advance(kernel, state, until))
    else:
        state = _run_in_order(choices, writing, streams, state, limits, until, edges, one)
    busy = state.totals.busy + (state.now - state.origin)
    return state.records, state.totals._replace(busy=busy)


def _by_stream(records: Records, totals: Totals) -> tuple[Records, Totals]:
    """Flat rows of streams, ``[(n + 1) B]``, to ``[B, n]``."""
    num_streams = totals.steps.shape[0]

    def back(array: jax.Array) -> jax.Array:
        return array.reshape(-1, num_streams).T

    records = jax.tree.map(lambda array: back(array)[:, :-1], records)
    return records, totals._replace(histogram=back(totals.histogram))


def _run_in_order(
    choices: Choices,
    writing: Writing,
    streams: Streams,
    state: in_order_state.State,
    limits: Limits,
    until: jax.Array,
    edges: jax.Array,
    one: jax.Array,
) -> in_order_state.State:
    """Run the general kernel; to tell which tokens restarts lose, it runs twice."""

    def run(choices: Choices, state: Any, final_run: jax.Array | None) -> Any:
        kernel = in_order_state.Kernel(streams, limits, choices, writing, edges, one, final_run)
        return in_order.with_open_records(kernel, in_order.advance(kernel, state, until))

    if choices.preemption != "restart" or not choices.has_histogram:
        return run(choices, state, None)
    first = run(choices._replace(has_histogram=False), state, None)
    return run(choices, state, first.records.preemptions)
