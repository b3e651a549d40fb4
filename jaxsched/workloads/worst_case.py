"""Built backlogs: where a simple rule is far from optimal, and where the optimum is known."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched._lib.registry import Registry
from jaxsched.model.instance import Instance
from jaxsched.workloads import _checks

#: ``(count, prompt, output)`` of each class of equal requests, in index order.
Classes = tuple[tuple[int, int, int], ...]
_MOST_REQUESTS = 2**28  # a few GB


def worst_case(rule: str, capacity: int) -> Instance:
    r"""Build an instance on which a simple rule loses a factor that grows like :math:`\sqrt M`.

    Requests come in two classes, :math:`(s, o)` below in index order, and running the other
    class first is far better. With :math:`r = \lfloor\sqrt M\rfloor` and
    :math:`L = \lfloor M/4 \rfloor`:

    ==================== ===================== ==================================
    rule                 first                 then
    ==================== ===================== ==================================
    ``shortest_output``  r of (M - 1, 1)       r² of (1, 2)
    ``fcfs``             r of (M - 1, 1)       r² of (1, 1)
    ``total_size``       8 of (1, L - 1)       8⌊√L⌋ of (L, 1)
    ==================== ===================== ==================================

    Args:
      rule: the rule to embarrass, one of the names above; ``mc_sf`` is ``shortest_output``.
      capacity: tokens the cache holds, M.

    Returns:
      An instance ``[n]``.

    Raises:
      ValueError: the rule is none of these, or the capacity too small to build the instance,
        or so large that it would have over 2^28 requests.

    Example:
      >>> import jaxsched as js
      >>> inst = js.workloads.worst_case("shortest_output", capacity=4)
      >>> inst.prompt_tokens.tolist(), inst.output_tokens.tolist()
      ([3, 3, 1, 1, 1, 1], [1, 1, 2, 2, 2, 2])

    Source: our form of the cases by which these rules have no constant factor in Wang, Ye and
    Zhou, *LLM Serving Optimization with Variable Prefill and Decode Lengths*, 2025,
    arXiv:2508.06133.
    """
    smallest, classes_of = _WORST_CASES[rule]
    capacity = _checks.count("capacity", capacity)
    if capacity < smallest:
        raise InputError(
            "capacity", capacity, f"the worst case of {rule} needs at least {smallest} tokens"
        )
    count, prompt, output = np.array(classes_of(capacity)).T
    if count.sum() > _MOST_REQUESTS:
        expectation = f"expected less: the worst case of {rule} would have {count.sum()} requests"
        raise InputError("capacity", capacity, expectation)
    return Instance.from_lengths(
        np.repeat(prompt, count), np.repeat(output, count), kv_capacity=capacity
    )


def three_partition(key: jax.Array, num_triples: int, capacity: int) -> Instance:
    r"""Plant triples of requests that fill the cache exactly, one triple a round.

    Every output is one token, and prompts are :math:`s_i = a_i - 1` for integers
    :math:`M/4 < a_i < M/2` drawn in triples that sum to :math:`M`, then shuffled. No round can
    hold more than three requests, so with :math:`m` triples

    .. math:: \mathrm{OPT} = 3 \sum_{t=1}^{m} t = \tfrac32 m (m + 1)

    Args:
      key: a jax random key; equal keys give equal instances.
      num_triples: triples m.
      capacity: tokens the cache holds, M: 6, 7, or 9 and above.

    Returns:
      An instance ``[3 m]`` with a planted optimum.

    Raises:
      ValueError: ``num_triples`` is below 1, or no such triple sums to ``capacity``.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.three_partition(jax.random.key(0), num_triples=2, capacity=7)
      >>> sorted(inst.prompt_tokens.tolist()), inst.output_tokens.tolist()
      ([1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 1, 1])

    Source: the plant is ours; 3-partition is strongly NP-hard (Garey and Johnson, *Computers
    and Intractability*, 1979).
    """
    num_triples = _checks.count("num_triples", num_triples)
    capacity = _checks.count("capacity", capacity)
    low, high = capacity // 4 + 1, (capacity + 1) // 2 - 1
    if low < 2 or 3 * low > capacity:
        raise InputError(
            "capacity",
            capacity,
            f"no three integers >= 2 between {capacity}/4 and {capacity}/2 sum to it; expected 6, "
            "7, or 9 and above",
        )
    return _planted(key, num_triples, capacity, low, high)


@functools.partial(jax.jit, static_argnames="num_triples")
def _planted(key: jax.Array, num_triples: int, capacity: int, low: int, high: int) -> Instance:
    first_key, second_key, order_key = jax.random.split(key, 3)

    shape = (num_triples,)
    # Each bound leaves room for what is still to come of the triple, and not too much.
    most = jnp.minimum(high, capacity - 2 * low)
    first = jax.random.randint(first_key, shape, low, most + 1, jnp.int32)
    least = jnp.maximum(low, capacity - first - high)
    most = jnp.minimum(high, capacity - first - low)
    second = jax.random.randint(second_key, shape, least, most + 1, jnp.int32)
    size = jnp.concatenate([first, second, capacity - first - second])
    return Instance(
        prompt_tokens=jax.random.permutation(order_key, size) - 1,
        output_tokens=jnp.ones_like(size),
        is_real=jnp.ones(size.shape, bool),
        kv_capacity=jnp.asarray(capacity, jnp.int32),
    )


def _shortest_output(capacity: int) -> Classes:
    root = math.isqrt(capacity)
    return (root, capacity - 1, 1), (root * root, 1, 2)


def _fcfs(capacity: int) -> Classes:
    root = math.isqrt(capacity)
    return (root, capacity - 1, 1), (root * root, 1, 1)


def _total_size(capacity: int) -> Classes:
    quarter = capacity // 4
    return (8, 1, quarter - 1), (8 * math.isqrt(quarter), quarter, 1)


#: The least capacity that gives every request a prompt and an output, and the classes.
_WORST_CASES: Registry[tuple[int, Callable[[int], Classes]]] = Registry(
    "worst case",
    {
        "fcfs": (2, _fcfs),
        "mc_sf": (3, _shortest_output),
        "shortest_output": (3, _shortest_output),
        "total_size": (8, _total_size),
    },
)
