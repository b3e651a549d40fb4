"""Local search over batches: add, drop or swap one request at a time."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import while_loop
from jaxsched.engine.order import serving_order
from jaxsched.model.instance import MAX_INT32, Instance
from jaxsched.policies.selectors._greedy import greedy
from jaxsched.policies.selectors._protocol import Select, Selector, f_ratio


def local_swap(start: Selector | None = None) -> Selector:
    r"""Improve a batch by single moves until none lowers F.

    From the batch of ``start``, make the best of three moves: add a request that fits, drop a
    member, or swap a member for a request of fewer output tokens that fits in its place; repeat.
    (Adding :math:`j` lowers F if :math:`o_j < (2|X| + 1) F(X)`.) The result is never worse than
    the start.

    Args:
      start: the selector to start from; None for :func:`greedy`.

    Returns:
      A selector that sorts once an instance; a move then costs :math:`O(n \log n)`.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.policies.selectors import greedy, local_swap
      >>> inst = js.Instance.from_lengths([1, 7, 2], [1, 2, 2], kv_capacity=9)
      >>> start = greedy(quantile=1.0)
      >>> start(inst)(inst.is_real, inst.kv_capacity).tolist()  # F = 1; the next does not fit
      [True, False, False]
      >>> local_swap(start)(inst)(inst.is_real, inst.kv_capacity).tolist()  # F = 3/4
      [True, False, True]

    Source:
      Our form of the local swap search of Wang, Ye, Zhou, *LLM Serving Optimization with Variable
      Prefill and Decode Lengths*, 2025, arXiv:2508.06133.
    """
    return _local_swap(greedy() if start is None else start)


@functools.lru_cache(maxsize=64)  # equal options give the same function, hence no new compilation
def _local_swap(start: Selector) -> Selector:
    def selector(inst: Instance) -> Select:
        return improve_by_swaps(inst, start(inst))

    return selector


def improve_by_swaps(inst: Instance, select_start: Select) -> Select:
    """Follow a choice of batches by the search of :func:`local_swap`.

    Args:
      inst: one instance ``[n]``.
      select_start: the choice to start each search from.

    Returns:
      The choice of batches where no move helps.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> from jaxsched.policies import selectors
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> select = selectors.improve_by_swaps(inst, lambda remaining, capacity: remaining)
      >>> select(jnp.array([True, False, True]), inst.kv_capacity).tolist()
      [True, False, True]
    """
    # The search works by ascending size, so that whoever fits in a gap is a prefix.
    by_size = serving_order(inst.prompt_tokens + inst.output_tokens)
    rank = jnp.zeros_like(by_size).at[by_size].set(lax.iota(jnp.int32, by_size.shape[0]))
    output = inst.output_tokens[by_size]
    size = inst.prompt_tokens[by_size] + output

    def select(remaining: jax.Array, capacity: jax.Array) -> jax.Array:
        candidates = remaining[by_size]

        def improve(search: tuple[jax.Array, jax.Array, jax.Array]):
            members, metric, _ = search
            neighbour, lower = _best_neighbour(size, output, members, candidates, capacity)
            is_lower = lower < metric
            return jnp.where(is_lower, neighbour, members), jnp.minimum(lower, metric), is_lower

        members = select_start(remaining, capacity)[by_size]
        metric = f_ratio(_sum(output, members), _sum(members, members))
        search = (members, metric, jnp.bool_(True))
        return while_loop(lambda search: search[2], improve, search)[0][rank]

    return select


def _best_neighbour(
    size: jax.Array,
    output: jax.Array,
    members: jax.Array,
    candidates: jax.Array,
    capacity: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Make the add, drop or swap of least F; requests ``[n]`` are by ascending ``size``."""
    place = lax.iota(jnp.int32, size.shape[0])
    nobody = jnp.int32(size.shape[0])
    total, count = _sum(output, members), _sum(members, members)
    spare = capacity - _sum(size, members)
    outside = jnp.where(candidates & ~members, output, MAX_INT32)
    # least[p]: fewest output tokens outside among the p smallest requests
    least = jnp.pad(lax.cummin(outside), (1, 0), constant_values=MAX_INT32)

    def num_within(tokens: jax.Array) -> jax.Array:
        return jnp.searchsorted(size, tokens, side="right").astype(jnp.int32)

    room = num_within(spare)
    can_add = least[room] < MAX_INT32
    after_add = f_ratio(total + jnp.where(can_add, least[room], 0), count + 1)

    longest = lax.argmax(jnp.where(members, output, 0), 0, jnp.int32)
    after_drop = f_ratio(total - output[longest], count - 1)

    room_of = num_within(size + spare)
    saved = jnp.where(members, output - least[room_of], 0)
    leaver = lax.argmax(saved, 0, jnp.int32)
    after_swap = f_ratio(total - saved[leaver], count)

    metric = jnp.stack([jnp.where(can_add, after_add, jnp.inf), after_drop, after_swap])
    move = jnp.argmin(metric)
    leaves = jnp.stack([nobody, longest, leaver])[move]
    room = jnp.stack([room, jnp.int32(0), room_of[leaver]])[move]
    joins = lax.argmin(jnp.where(place < room, outside, MAX_INT32), 0, jnp.int32)
    joins = jnp.where(room > 0, joins, nobody)
    return (members & (place != leaves)) | (place == joins), metric[move]


def _sum(values: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.sum(values, where=where, dtype=jnp.int32)
