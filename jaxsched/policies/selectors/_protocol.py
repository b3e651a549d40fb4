"""What a batch selector is: the contract, written once, and the metric it lowers."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp

from jaxsched.model.instance import Instance


class Select(Protocol):
    """Chooses the next batch among the requests that remain."""

    def __call__(self, remaining: jax.Array, capacity: jax.Array, /) -> jax.Array:
        r"""Return the batch :math:`X` as a mask.

        Args:
          remaining: bool ``[n]``, the requests to choose from; padding is never among them,
            and each of them fits ``capacity`` alone.
          capacity: int32 scalar, the tokens :math:`\sum_{i \in X} (s_i + o_i)` may come to.

        Returns:
          bool ``[n]``, a subset of ``remaining`` within ``capacity``; not empty unless
          ``remaining`` is. An empty mask for a non-empty ``remaining`` says "I cannot": the rule
          then gives the requests still waiting the priority NaN.
        """
        ...


class Selector(Protocol):
    r"""A way to look for a batch of small :math:`F(X) = \sum_{i \in X} o_i / |X|^2`.

    Called once an instance, where it may sort, and then once a batch through the
    :class:`Select` it returns. Both run inside ``jit`` and ``vmap``: ``jax.numpy`` only,
    for one instance ``[n]``. Write one as a function that returns a function; the ready-made
    ones come from factories such as :func:`multiplier_sweep`.
    """

    def __call__(self, inst: Instance, /) -> Select:
        """Prepare the selection of batches from ``inst``."""
        ...


def f_metric(inst: Instance, members: jax.Array) -> jax.Array:
    r"""Metric of a batch; smaller is better.

    .. math:: F(X) = \sum_{i \in X} o_i \,/\, |X|^2

    Args:
      inst: one instance ``[n]``.
      members: bool ``[n]``, the batch.

    Returns:
      float32 scalar, rounded to nearest (relative 2e-7); infinite for the empty batch.

    Source:
      Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode Lengths*, 2025,
      arXiv:2508.06133.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> from jaxsched.policies.selectors import f_metric
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> f_metric(inst, jnp.array([True, False, True])).item()
      0.75
    """
    total = jnp.sum(inst.output_tokens, where=members, dtype=jnp.int32)
    return f_ratio(total, jnp.sum(members, dtype=jnp.int32))


def f_ratio(total_output: jax.Array, count: jax.Array) -> jax.Array:
    """Metric of batches with these sums and sizes, float32; infinite where ``count`` is 0.

    Sums stay below 2^31, but the cross products that would compare two ratios exactly do not, so
    ratios are compared as float32: batches within 2e-7 of each other count as equal.
    """
    size = count.astype(jnp.float32)
    return jnp.where(count > 0, total_output.astype(jnp.float32) / (size * size), jnp.inf)
