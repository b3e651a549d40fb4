"""Sorted-F: batches of least F first."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import while_loop
from jaxsched.engine.order import serving_order
from jaxsched.model.instance import MAX_INT32, Instance
from jaxsched.policies._rule import Rule
from jaxsched.policies.selectors import Select, Selector, resolve_selector

WAITING = -1  # the batch of a request that no batch has taken


def sorted_f(selector: str | Selector = "multiplier_sweep", **selector_options: object) -> Rule:
    r"""Serve in batches, each of least F among the requests that remain (Sorted-F).

    .. math:: F(X) = \sum_{i \in X} o_i \,/\, |X|^2
              \quad\text{over } X \text{ with}\quad \sum_{i \in X} (s_i + o_i) \le M

    Phase 1 appends the batch of least F to the order, its members by ascending output, until no
    request remains. Phase 2 is strict order with look-ahead, that is :func:`simulate`: batches may
    overlap there. The paper proves a constant factor, at most 48, for the exact batches.

    Args:
      selector: how to look for a batch: ``"multiplier_sweep"``, ``"local_swap"``, ``"greedy"``,
        ``"scaled_dp"``, ``"exact_dp"``, or a :class:`~jaxsched.policies.selectors.Selector`.
      **selector_options: options of the named selector.

    Returns:
      A pure rule: float32 ``[n]``, the position of each request in the order of phase 1, padding
      last (exact to 2^24 requests). NaN for the requests that wait if the selector gives up.

    Raises:
      ValueError: no selector has this name.
      TypeError: options that the selector does not take.

    Example:
      The batches of five requests that share a cache of 10 tokens. Requests 2 and 4 hold
      7 + 3 tokens and have F = (1 + 2)/4, the least; of the others, 3 and 1 hold 4 + 6 and have
      F = (2 + 5)/4, against 2/1 for request 3 alone; request 0 is left.

      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 6, 2, 1], [4, 5, 1, 2, 2], kv_capacity=10)
      >>> rule = js.policies.sorted_f()
      >>> rule(inst).tolist()  # the order is 2, 4 | 3, 1 | 0
      [4.0, 3.0, 0.0, 2.0, 1.0]

      Requests 2 and 4 start at once. Request 3 waits for 2 to complete, and 1 starts with it;
      request 0 fits its 4 tokens of round 6 beside the 6 that request 1 then holds, no earlier.

      >>> js.simulate(inst, rule(inst)).start.tolist()
      [5, 1, 0, 1, 0]

    Source:
      Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode Lengths*, 2025,
      arXiv:2508.06133 (the metric; the phases in our form).
    """
    return _sorted_f(resolve_selector(selector, **selector_options))


@functools.lru_cache(maxsize=64)  # the same selector gives the same rule, hence no new compilation
def _sorted_f(selector: Selector) -> Rule:
    def sorted_f(inst: Instance) -> jax.Array:
        return order_by_batch(inst, form_batches(inst, selector(inst)))

    return sorted_f


def form_batches(inst: Instance, select: Select) -> jax.Array:
    """Cut a backlog into batches, each chosen among the requests that earlier ones left.

    Args:
      inst: one instance ``[n]``.
      select: the choice, prepared for ``inst``.

    Returns:
      int32 ``[n]``: 0 for members of the first batch, and so on; -1 for padding, and for the
      requests that remain when ``select`` takes nobody.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.policies.selectors import exact_dp
      >>> from jaxsched.policies.batches.sorted_f import form_batches
      >>> inst = js.Instance.from_lengths([3, 1, 6, 2, 1], [4, 5, 1, 2, 2], kv_capacity=10)
      >>> form_batches(inst, exact_dp()(inst)).tolist()
      [2, 1, 0, 1, 0]
    """

    def remains(batch: jax.Array) -> jax.Array:
        return inst.is_real & (batch == WAITING)

    def take(state: tuple[jax.Array, jax.Array, jax.Array]):
        batch, number, _ = state
        members = checked_members(select, remains(batch), inst.kv_capacity)
        return jnp.where(members, number, batch), number + 1, jnp.any(members)

    batch = jnp.full(inst.output_tokens.shape, WAITING, jnp.int32)
    state = (batch, jnp.int32(0), jnp.bool_(True))
    return while_loop(lambda state: state[2] & jnp.any(remains(state[0])), take, state)[0]


def checked_members(select: Select, remaining: jax.Array, capacity: jax.Array) -> jax.Array:
    """Call ``select``; its output must be a mask, and counts among ``remaining`` only."""
    members = select(remaining, capacity)
    if getattr(members, "shape", None) != remaining.shape or members.dtype != jnp.bool_:
        raise ValueError(
            f"the selector returned {jax.typeof(members)}; expected bool{list(remaining.shape)}, "
            "whether each request is in the batch"
        )
    return members & remaining


def order_by_batch(inst: Instance, batch: jax.Array) -> jax.Array:
    """Position of each request by batch, then output tokens, then index.

    Args:
      inst: one instance ``[n]``.
      batch: int32 ``[n]``; -1 for padding, which comes last, and for requests without a place.

    Returns:
      float32 ``[n]``; NaN for requests without a place.
    """
    by_output = serving_order(inst.output_tokens)
    key = jnp.where(inst.is_real & (batch != WAITING), batch, MAX_INT32)
    order = by_output[serving_order(key[by_output])]
    position = jnp.zeros_like(batch).at[order].set(lax.iota(jnp.int32, batch.shape[0]))
    has_no_place = inst.is_real & (batch == WAITING)
    return jnp.where(has_no_place, jnp.nan, position.astype(jnp.float32))
