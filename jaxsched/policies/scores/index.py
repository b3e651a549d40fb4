r"""Index rules: each request's priority follows from the request alone.

With prompt :math:`s`, output :math:`o` and volume :math:`v = s\,o + o(o+1)/2`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsched.model.instance import Instance, weight_of
from jaxsched.policies.scores.volume_rank import exact_volume_priority


def fcfs(inst: Instance) -> jax.Array:
    """First come, first served: the order of the rows.

    Args:
      inst: one instance ``[n]``.

    Returns:
      int32 ``[n]``, the row number.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> js.policies.fcfs(inst).tolist()
      [0, 1, 2]
    """
    return jnp.arange(inst.prompt_tokens.shape[-1], dtype=jnp.int32)


def shortest_output(inst: Instance) -> jax.Array:
    """Fewest output tokens first (MC-SF).

    Args:
      inst: one instance ``[n]``.

    Returns:
      int32 ``[n]``, output tokens.

    Source:
      Jaillet, Jiang, Mellou, Molinaro, Podimata, Zhou, *Online Scheduling for LLM Inference with
      KV Cache Constraints*, 2025, arXiv:2502.07115.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> js.policies.shortest_output(inst).tolist()
      [2, 4, 1]
    """
    return inst.output_tokens


def shortest_prompt(inst: Instance) -> jax.Array:
    """Fewest prompt tokens first.

    Args:
      inst: one instance ``[n]``.

    Returns:
      int32 ``[n]``, prompt tokens.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> js.policies.shortest_prompt(inst).tolist()
      [3, 1, 2]
    """
    return inst.prompt_tokens


def total_size(inst: Instance) -> jax.Array:
    r"""Fewest tokens held at the end, :math:`s + o`, first.

    Args:
      inst: one instance ``[n]``.

    Returns:
      int32 ``[n]``, prompt plus output tokens; at most the KV capacity.

    Source:
      A baseline in Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode
      Lengths*, 2025, arXiv:2508.06133.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> js.policies.total_size(inst).tolist()
      [5, 5, 3]
    """
    return inst.prompt_tokens + inst.output_tokens


def smallest_volume(inst: Instance) -> jax.Array:
    r"""Smallest volume, memory times time, first (SVF).

    .. math:: v = s\,o + \tfrac12 o (o + 1)

    The order is that of the exact integer volumes, which reach :math:`2^{62}`; float32 would
    tie neighbours from :math:`2^{24}` on. The paper's guarantee is for ``admission="peak"``;
    ``"look_ahead"``, the default of :func:`simulate`, is far better in practice.

    Args:
      inst: one instance ``[n]``.

    Returns:
      int32 ``[n]``: the volumes where all of the instance's are below :math:`2^{31}`, else
      their dense ranks. Equal volumes have equal priorities.

    Source:
      Kong, Qi, Ye, Zhou, *Geometry-Aware Online Scheduling for LLM Serving: From Theoretical
      Bound to System Practice*, 2026, arXiv:2606.22327.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> js.policies.smallest_volume(inst).tolist()
      [9, 14, 3]
    """
    return exact_volume_priority(inst.prompt_tokens, inst.output_tokens)


def weighted_volume(inst: Instance) -> jax.Array:
    r"""Smallest volume over weight first, as Smith's rule serves one machine.

    .. math:: v_i / w_i

    Args:
      inst: one instance ``[n]``; without weights, and at a server, whose requests have none, the
        order is by volume, rounded to float32.

    Returns:
      float32 ``[n]``.

    Source:
      Our form of Smith, *Various optimizers for single-stage production*, Naval Research
      Logistics Quarterly, 1956.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8, weight=[1.0, 2.0])
      >>> js.policies.weighted_volume(inst).tolist()
      [9.0, 7.0]
    """
    return inst.volume / weight_of(inst)
