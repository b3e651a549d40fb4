"""Selectors that fill a table over batch size and memory: exact, or on a coarser scale."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxsched._lib.errors import InputError
from jaxsched._lib.loops import fori_loop
from jaxsched.engine.order import serving_order
from jaxsched.model.instance import MAX_INT32, Instance
from jaxsched.policies.selectors._protocol import Select, Selector, f_ratio

_UNREACHED = np.uint32(2**31)  # above any sum of outputs; adding one more stays below 2^32
_WORD = 32


def exact_dp(max_capacity: int = 1024) -> Selector:
    r"""Find the feasible batch of least F by dynamic programming.

    For each batch size :math:`k` the least :math:`\sum o_i` of :math:`k` requests within each
    amount of memory, one request after another:

    .. math:: D_{k, m} \leftarrow \min(D_{k, m},\; D_{k-1,\, m - s_i - o_i} + o_i)

    The batch is read back from the :math:`k` of least :math:`D_{k, M} / k^2`, the largest one if
    several are equal. For small instances: a batch takes :math:`n k_{\max} M` steps and an eighth
    of a byte for each.

    Args:
      max_capacity: the largest KV capacity it will meet, in tokens; fixes the table's shape.

    Returns:
      A selector. Under ``jit`` the capacity cannot be checked when it is built: a larger one
      gets the empty batch, so that its requests have priority NaN and are reported.

    Raises:
      ValueError: ``max_capacity`` is below 2; or, from the selector, a capacity that is known
        and larger.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.policies.selectors import exact_dp
      >>> inst = js.Instance.from_lengths([3, 1, 2, 1], [1, 3, 3, 2], kv_capacity=8)
      >>> exact_dp(max_capacity=8)(inst)(inst.is_real, inst.kv_capacity).tolist()  # F = 3/4
      [True, False, False, True]

    Source:
      Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode Lengths*, 2025,
      arXiv:2508.06133.
    """
    if max_capacity < 2:
        raise InputError("max_capacity", max_capacity, "expected at least 2 tokens")
    return _exact_dp(int(max_capacity))


@functools.lru_cache(maxsize=64)  # equal options give the same function, hence no new compilation
def _exact_dp(max_capacity: int) -> Selector:
    def selector(inst: Instance) -> Select:
        capacity = inst.kv_capacity
        if not isinstance(capacity, Tracer) and int(capacity) > max_capacity:
            raise InputError(
                "kv_capacity",
                int(capacity),
                f"pass max_capacity={int(capacity)}, or use scaled_dp",
                finding=f"is {int(capacity)} but the table of exact_dp ends at "
                f"max_capacity={max_capacity}",
            )
        size = inst.prompt_tokens + inst.output_tokens
        max_count = min(size.shape[0], max_capacity // 2)  # a request holds at least 2 tokens

        def select(remaining: jax.Array, capacity: jax.Array) -> jax.Array:
            room = jnp.minimum(capacity, max_capacity)
            members = _least_f_batch(
                size, inst.output_tokens, remaining, room, (max_capacity, max_count)
            )
            return members & (capacity <= max_capacity)

        return select

    return selector


def scaled_dp(theta: int = 16, max_capacity: int = 16_492) -> Selector:
    r"""Dynamic programming over memory in units of ``theta`` tokens.

    As :func:`exact_dp` with weights :math:`\lceil (s_i + o_i) / \theta \rceil` and capacity
    :math:`\lfloor M / \theta \rfloor`: every batch it finds is feasible, and the loss falls with
    :math:`\theta`. If no request fits on that scale, the batch is the request of fewest output
    tokens.

    Args:
      theta: tokens in a unit; 1 is exact.
      max_capacity: the largest KV capacity to be met at this ``theta``, in tokens; fixes the
        table's shape. A larger capacity is cut into as many, larger units.

    Returns:
      A selector; a batch takes :math:`n k_{\max} M / \theta` steps.

    Raises:
      ValueError: ``theta`` is below 1, or ``max_capacity`` below ``theta``.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.policies.selectors import scaled_dp
      >>> inst = js.Instance.from_lengths([3, 1, 2, 1], [1, 3, 3, 2], kv_capacity=8)
      >>> scaled_dp(theta=2)(inst)(inst.is_real, inst.kv_capacity).tolist()
      [True, False, False, True]

    Source:
      Our form of the scaled dynamic programme of Wang, Ye, Zhou, *LLM Serving Optimization with
      Variable Prefill and Decode Lengths*, 2025, arXiv:2508.06133.
    """
    if not 1 <= theta <= max_capacity:
        raise InputError(
            "theta",
            theta,
            "expected 1 <= theta <= max_capacity tokens",
            finding=f"is {theta} and max_capacity is {max_capacity}",
        )
    return _scaled_dp(int(theta), int(max_capacity))


@functools.lru_cache(maxsize=64)
def _scaled_dp(theta: int, max_capacity: int) -> Selector:
    num_units = max_capacity // theta

    def selector(inst: Instance) -> Select:
        size = inst.prompt_tokens + inst.output_tokens
        max_count = min(size.shape[0], num_units)

        def select(remaining: jax.Array, capacity: jax.Array) -> jax.Array:
            unit = jnp.maximum(capacity // (num_units + 1) + 1, theta)
            weight = (size - 1) // unit + 1
            members = _least_f_batch(
                weight, inst.output_tokens, remaining, capacity // unit, (num_units, max_count)
            )
            shortest = lax.argmin(jnp.where(remaining, inst.output_tokens, MAX_INT32), 0, jnp.int32)
            is_shortest = remaining & (lax.iota(jnp.int32, size.shape[0]) == shortest)
            return members | (is_shortest & ~jnp.any(members))

        return select

    return selector


def _least_f_batch(
    weight: jax.Array,
    output: jax.Array,
    remaining: jax.Array,
    room: jax.Array,
    table_size: tuple[int, int],
) -> jax.Array:
    """Choose the batch of least F whose weights sum to at most ``room``; empty if nobody fits.

    ``table_size`` holds the largest room and the largest number of members.
    """
    max_room, max_count = table_size
    n = weight.shape[0]
    num_words = -(-n // _WORD)
    requests = serving_order((~remaining).astype(jnp.int32))  # those that remain come first
    num_remaining = jnp.sum(remaining, dtype=jnp.int32)
    used = jnp.arange(max_room + 1, dtype=jnp.int32)

    def offer_word(word: jax.Array, tables: tuple[jax.Array, jax.Array]):
        """Offer 32 requests; bit b of ``taken[word]`` tells which cells took the b-th."""

        def offer(bit: jax.Array, cells: tuple[jax.Array, jax.Array]):
            least, taken_bits = cells
            position = word * _WORD + bit
            request = requests[jnp.minimum(position, n - 1)]
            before = used - weight[request]
            exists = (before >= 0) & (position < num_remaining)
            base = least.at[jnp.where(exists, before, max_room + 1)].get(
                mode="fill", fill_value=_UNREACHED
            )
            with_it = base[:, :-1] + output[request].astype(jnp.uint32)
            with_it = jnp.pad(with_it, ((0, 0), (1, 0)), constant_values=_UNREACHED)
            is_taken = with_it < least
            taken_bits |= is_taken.astype(jnp.uint32) << bit.astype(jnp.uint32)
            return jnp.where(is_taken, with_it, least), taken_bits

        least, taken = tables
        least, taken_bits = fori_loop(0, _WORD, offer, (least, jnp.zeros_like(least)))
        return least, taken.at[word].set(taken_bits)

    # least[m, k]: fewest output tokens of k requests whose weights sum to at most m
    least = jnp.full((max_room + 1, max_count + 1), _UNREACHED).at[:, 0].set(0)
    taken = jnp.zeros((num_words, *least.shape), jnp.uint32)
    num_offered = (num_remaining + (_WORD - 1)) // _WORD
    least, taken = fori_loop(0, num_offered, offer_word, (least, taken))

    def read_back(step: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]):
        members, room, count = state
        position = n - 1 - step
        bit = (position % _WORD).astype(jnp.uint32)
        is_member = (taken[position // _WORD, room, count] >> bit) & 1 == 1
        request = requests[position]
        return (
            members.at[request].set(is_member),
            jnp.where(is_member, room - weight[request], room),
            jnp.where(is_member, count - 1, count),
        )

    counts = jnp.arange(max_count + 1, dtype=jnp.int32)
    metric = jnp.where(least[room] < _UNREACHED, f_ratio(least[room], counts), jnp.inf)
    count = jnp.max(jnp.where(metric == jnp.min(metric), counts, 0))
    count = jnp.where(jnp.any(jnp.isfinite(metric)), count, 0)
    return fori_loop(0, n, read_back, (jnp.zeros(n, bool), room, count))[0]
