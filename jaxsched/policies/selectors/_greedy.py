"""The plain selector: short answers first, among the smaller requests."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxsched._lib.errors import InputError
from jaxsched.engine.order import serving_order
from jaxsched.model.instance import Instance
from jaxsched.policies.selectors._prefix import least_f_prefix
from jaxsched.policies.selectors._protocol import Select, Selector


def greedy(quantile: float = 0.5) -> Selector:
    r"""Fill by ascending output tokens, leaving out the larger requests (quantile greedy).

    Candidates are the remaining requests whose size :math:`s_i + o_i` is at most the given
    quantile of the remaining sizes (the smallest size that a share ``quantile`` of them does not
    pass). The batch is the prefix of least F when they are taken by ascending :math:`o_i`.
    Our form of the paper's quantile greedy selection.

    Args:
      quantile: in (0, 1]; 1 takes everybody as a candidate.

    Returns:
      A selector that sorts once an instance; a batch then costs a few passes over the requests.

    Raises:
      ValueError: the quantile is outside (0, 1].

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.policies.selectors import greedy
      >>> inst = js.Instance.from_lengths([6, 1, 1, 1], [1, 2, 2, 2], kv_capacity=9)
      >>> greedy(quantile=0.75)(inst)(inst.is_real, inst.kv_capacity).tolist()
      [False, True, True, True]
      >>> greedy(quantile=1.0)(inst)(inst.is_real, inst.kv_capacity).tolist()
      [True, False, False, False]

    Source:
      Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode Lengths*, 2025,
      arXiv:2508.06133.
    """
    if not 0 < quantile <= 1:
        raise InputError("quantile", quantile, "expected a number in (0, 1]")
    return _greedy(float(quantile))


@functools.lru_cache(maxsize=64)  # equal options give the same function, hence no new compilation
def _greedy(quantile: float) -> Selector:
    def selector(inst: Instance) -> Select:
        size = inst.prompt_tokens + inst.output_tokens
        by_size = serving_order(size)
        fill = least_f_prefix(inst, inst.output_tokens[None])

        def select(remaining: jax.Array, capacity: jax.Array) -> jax.Array:
            passed = jnp.cumsum(remaining[by_size], dtype=jnp.int32)
            wanted = jnp.ceil(quantile * passed[-1].astype(jnp.float32)).astype(jnp.int32)
            cut = size[by_size[jnp.argmax(passed >= wanted)]]
            return fill(remaining & (size <= cut), capacity)

        return select

    return selector
