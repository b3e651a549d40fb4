"""Requests as the engine takes them: who is refused, who comes first, and their flat arrays."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsched.engine.online.by_rule.crowd import Crowd, Seen, nobody_is_there, num_padded
from jaxsched.engine.online.by_rule.remembering import empty_memory
from jaxsched.engine.online.lanes import Writing
from jaxsched.engine.online.queue import Waiting, nobody_waits
from jaxsched.engine.online.state import Choices, Limits, Streams
from jaxsched.engine.order import ascending_bits


class Watched(NamedTuple):
    """What a dynamic rule sees of requests ``[B, n]``, and the rule itself.

    Attributes:
      output_tokens: int32, predicted.
      priority: float32.
      client: int32.
      ttft_slo_s: float32, infinite for none.
      tpot_slo_s: float32, likewise.
      kv_capacity: int32 ``[B]``.
      leaves: of the rule, ``[B, ...]`` each.
    """

    output_tokens: Any
    priority: Any
    client: Any
    ttft_slo_s: Any
    tpot_slo_s: Any
    kv_capacity: Any
    leaves: tuple[Any, ...]


class Arrivals(NamedTuple):
    """Requests as the engine takes them, ``[B, n]``, by arrival.

    Attributes:
      arrival: float64 seconds, ascending; infinite for padding.
      prompt: int32 tokens.
      output: int32 tokens.
      predicted: int32 tokens, the output that admission and victims believe in.
      priority: any real numbers, lower first; they order the queue where the policy is
        "priority", and must nowhere be NaN.
      victim_number: likewise, larger is evicted first, where the choice of victims is
        "by_number"; otherwise None.
      watched: what a dynamic rule sees, and its numbers; otherwise None.
    """

    arrival: Any
    prompt: Any
    output: Any
    predicted: Any
    priority: Any
    victim_number: Any = None
    watched: Watched | None = None


class Checked(NamedTuple):
    """Requests, and what is known of them before they arrive."""

    arrivals: Arrivals
    is_refused: jax.Array  # bool [B, n], could not finish even alone
    has_nan: jax.Array  # bool [B], a priority is NaN
    is_served: jax.Array  # bool [B, n]


def first_arrival(arrival: jax.Array) -> jax.Array:
    """Find when the first request of a stream arrives, float64 ``[.., n]`` to ``[..]``; 0 for none.

    Rules see seconds since then: floats of 32 bits hold the time of day, but no date, to the
    second.
    """
    first = jnp.min(arrival, axis=-1, initial=jnp.inf)
    return jnp.where(jnp.isfinite(first), first, jnp.zeros_like(first))


def checked(arrivals: Arrivals, limits: Limits) -> Checked:
    """Look at requests ``[B, n]`` before they arrive at servers ``[B]``."""
    arrivals = Arrivals(
        arrival=jnp.asarray(arrivals.arrival, jnp.float64),
        prompt=jnp.asarray(arrivals.prompt, jnp.int32),
        output=jnp.asarray(arrivals.output, jnp.int32),
        predicted=jnp.asarray(arrivals.predicted, jnp.int32),
        priority=jnp.asarray(arrivals.priority),
        victim_number=jax.tree.map(jnp.asarray, arrivals.victim_number),
        watched=jax.tree.map(jnp.asarray, arrivals.watched),
    )
    room = limits.max_model_len[:, None] - arrivals.prompt
    most = arrivals.prompt + jnp.minimum(arrivals.output, room) - 1
    blocks = -(-most // limits.block_size[:, None])
    is_cut = limits.is_chunked[:, None] | (most <= limits.token_budget[:, None])
    is_real = jnp.isfinite(arrivals.arrival)
    is_refused = is_real & ((room < 1) | (blocks > limits.usable_blocks[:, None]) | ~is_cut)
    is_nan = jnp.zeros_like(is_real)
    for numbers in jax.tree.leaves((arrivals.priority, arrivals.victim_number)):
        if jnp.issubdtype(numbers.dtype, jnp.floating):
            is_nan = is_nan | (jnp.isnan(numbers) & is_real)
    has_nan = jnp.any(is_nan, axis=-1)
    return Checked(arrivals, is_refused, has_nan, is_real & ~is_refused & ~has_nan[:, None])


def streams_of(
    choices: Choices, given: Checked, limits: Limits, writing: Writing
) -> tuple[Streams, jax.Array, Waiting | Crowd | None]:
    """Lay requests out as kernels take them.

    Returns:
      The streams; the order of the queue, int32 ``[(n + 1) B]``; and those that wait, which is
      nobody yet, where the queue is by rank or by a dynamic rule.
    """
    arrivals, limit = given.arrivals, limits.max_model_len[:, None]
    n = given.is_served.shape[1]

    def flat(array: jax.Array, last: Any) -> jax.Array:
        """[B, n] -> [(n + 1) B], with what stands for nobody."""
        return jnp.pad(array.T, ((0, 1), (0, 0)), constant_values=last).reshape(-1)

    room = limit - arrivals.prompt
    order = flat(_positions(given.is_served), n)
    arrival = flat(arrivals.arrival, jnp.inf)
    tier, waiting = jnp.zeros_like(order), None
    is_ranked = choices.policy == "priority"
    if is_ranked or choices.victim == "worst_priority":
        rank, by_rank, tiers = ranks(arrivals.priority, arrivals.arrival)
        tier = flat(tiers, 0)
    if choices.victim == "by_number":
        numbers = arrivals.victim_number
        _, _, tiers = ranks(numbers, jnp.zeros_like(numbers))  # equals whenever they arrived
        tier = flat(tiers, 0)
    if is_ranked:
        waiting = nobody_waits(flat(rank, n), flat(by_rank, n), order, arrival, limits.block_size)
        order = jnp.full_like(order, n)
    streams = Streams(
        arrival=arrival,
        prompt=flat(arrivals.prompt, 1),
        final=flat(arrivals.prompt + jnp.minimum(arrivals.output, room) - 1, 1),
        predicted=flat(arrivals.prompt + jnp.maximum(jnp.minimum(arrivals.predicted, room), 1), 1),
        tier=tier,
    )
    if arrivals.watched is not None:
        waiting = _crowd(choices, arrivals, writing)
    return streams, order, waiting


def _crowd(choices: Choices, arrivals: Arrivals, writing: Writing) -> Crowd:
    """Lay out what a dynamic rule sees."""
    n, watched = arrivals.prompt.shape[1], arrivals.watched
    assert watched is not None
    assert choices.dynamic is not None
    rows = num_padded(n, writing)

    def flat(array: jax.Array) -> jax.Array:
        return jnp.pad(array.T, ((0, rows - n), (0, 0))).reshape(-1)

    seen = Seen(
        prompt_tokens=flat(arrivals.prompt),
        output_tokens=flat(watched.output_tokens),
        arrival=flat(arrivals.arrival),
        priority=flat(watched.priority),
        client=flat(watched.client),
        ttft_slo_s=flat(watched.ttft_slo_s),
        tpot_slo_s=flat(watched.tpot_slo_s),
    )
    first = first_arrival(arrivals.arrival)
    crowd = nobody_is_there(seen, first, watched.kv_capacity, watched.leaves)
    return empty_memory(choices.dynamic, crowd, n)


def _positions(flags: jax.Array) -> jax.Array:
    """Where bool ``[B, n]`` flags stand, ascending, then n; int32 ``[B, n]``."""
    num_streams, n = flags.shape
    position = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), flags.shape)
    place = jnp.where(flags, jnp.cumsum(flags, axis=-1, dtype=jnp.int32) - 1, n)
    none = jnp.full_like(position, n)
    row = jnp.arange(num_streams)[:, None]
    return none.at[row, place].set(position, mode="drop")


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
    priority = ascending_bits(priority)
    row = jnp.arange(num_streams)[:, None]
    by_rank = jnp.argsort(priority, axis=-1, stable=True).astype(jnp.int32)
    place = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), priority.shape)
    rank = jnp.zeros_like(place).at[row, by_rank].set(place, unique_indices=True)
    keys = (jnp.take_along_axis(key, by_rank, axis=-1) for key in (priority, arrival))
    differs = functools.reduce(jnp.logical_or, (key[:, 1:] != key[:, :-1] for key in keys))
    steps = jnp.cumsum(jnp.pad(differs, ((0, 0), (1, 0))), axis=-1, dtype=jnp.int32)
    return rank, by_rank, jnp.zeros_like(place).at[row, by_rank].set(steps, unique_indices=True)
