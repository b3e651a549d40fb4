"""The least-F batch among the feasible prefixes of several orders."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import while_loop
from jaxsched.engine.order import serving_order
from jaxsched.model.instance import Instance
from jaxsched.policies.selectors._protocol import Select, f_ratio

_WINDOW = 128  # places examined at a time; feasible prefixes are rarely longer


class _Prefix(NamedTuple):
    """The best prefix so far of each order ``[L]``."""

    metric: jax.Array
    count: jax.Array
    last_place: jax.Array


class _Progress(NamedTuple):
    """How far each order ``[L]`` has been read: sums over the requests already passed."""

    place: jax.Array
    is_open: jax.Array
    tokens: jax.Array
    total_output: jax.Array
    count: jax.Array
    best: _Prefix


def least_f_prefix(inst: Instance, keys: jax.Array) -> Select:
    """Prepare the choice of the feasible prefix of least F over all of the orders ``keys``.

    The orders are sorted here, once: taking requests out never changes their keys.

    Args:
      inst: one instance ``[n]``.
      keys: ``[L, n]``, L orders, ascending, ties by index.

    Returns:
      The choice. Ties in F go to the larger batch.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> from jaxsched.policies import selectors
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> select = selectors.least_f_prefix(inst, inst.output_tokens[None])
      >>> select(inst.is_real, inst.kv_capacity).tolist()
      [True, False, True]
    """
    num_orders, n = keys.shape
    order = serving_order(keys)
    lane = lax.broadcasted_iota(jnp.int32, keys.shape, 0)
    places = lax.broadcasted_iota(jnp.int32, keys.shape, 1)
    rank = jnp.zeros_like(places).at[lane, order].set(places, unique_indices=True)
    order = jnp.pad(order, ((0, 0), (0, _WINDOW)), constant_values=n)
    size = (inst.prompt_tokens + inst.output_tokens).astype(jnp.uint32)

    def select(remaining: jax.Array, capacity: jax.Array) -> jax.Array:
        size_left = jnp.where(remaining, size, 0)
        output_left = jnp.where(remaining, inst.output_tokens, 0)
        limit = capacity.astype(jnp.uint32)

        def read_window(at: _Progress) -> _Progress:
            request = jax.vmap(lambda row, start: lax.dynamic_slice(row, (start,), (_WINDOW,)))(
                order, at.place
            )
            passed = _running_sums(size_left, output_left, remaining, request)
            tokens = at.tokens[:, None] + passed[0]
            total_output = at.total_output[:, None] + passed[1]
            count = at.count[:, None] + passed[2]

            # A single request is at most 2^31 - 1 tokens, so the first sum over the limit is below
            # 2^32 and seen as such; the sums after it may wrap around and mean nothing.
            column = lax.broadcasted_iota(jnp.int32, request.shape, 1)
            end = jnp.min(jnp.where(tokens > limit, column, _WINDOW), axis=1)
            is_prefix = at.is_open[:, None] & (column < end[:, None])
            metric = jnp.where(is_prefix, f_ratio(total_output, count), jnp.inf)
            least = jnp.min(metric, axis=1)
            last = jnp.max(jnp.where(metric == least[:, None], column, 0), axis=1)
            prefix = _Prefix(
                metric=least,
                count=jnp.take_along_axis(count, last[:, None], axis=1)[:, 0],
                last_place=at.place + last,
            )
            is_better = prefix.metric <= at.best.metric
            return _Progress(
                place=jnp.minimum(at.place + _WINDOW, n),
                is_open=at.is_open & (end == _WINDOW),
                tokens=tokens[:, -1],
                total_output=total_output[:, -1],
                count=count[:, -1],
                best=jax.tree.map(lambda new, old: jnp.where(is_better, new, old), prefix, at.best),
            )

        num_remaining = jnp.sum(remaining, dtype=jnp.int32)
        none = jnp.zeros(num_orders, jnp.int32)
        start = _Progress(
            place=jnp.min(jnp.where(remaining, rank, n), axis=1),
            is_open=jnp.ones(num_orders, bool),
            tokens=jnp.zeros(num_orders, jnp.uint32),
            total_output=none,
            count=none,
            best=_Prefix(jnp.full(num_orders, jnp.inf, jnp.float32), none, none - 1),
        )
        best = while_loop(
            lambda at: jnp.any(at.is_open & (at.count < num_remaining)), read_window, start
        ).best
        is_least = best.metric == jnp.min(best.metric)
        chosen = jnp.argmax(jnp.where(is_least, best.count, -1))
        return remaining & (rank[chosen] <= best.last_place[chosen])

    return select


def _running_sums(
    size: jax.Array, output: jax.Array, remaining: jax.Array, request: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum tokens (uint32, wrapping), outputs and members along each row of ``request``."""

    def running_sum(values: jax.Array) -> jax.Array:
        window = values.at[request].get(mode="fill", fill_value=0)  # n marks the end of an order
        return jnp.cumsum(window, axis=1, dtype=values.dtype)

    return running_sum(size), running_sum(output), running_sum(remaining.astype(jnp.int32))
