r"""Rules for outputs of which only an interval :math:`[\ell, u]` is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.engine.contract import Events, Observation
from jaxsched.policies._dynamic import DynamicRule, dynamic


def a_max(inst: Any) -> jax.Array:
    r"""Least upper end of the predicted outputs first (:math:`A_{\max}`).

    The predictions are taken for :math:`u`. With a server whose admission is ``"peak"`` and
    predictions that are not passed, memory never runs out.

    Args:
      inst: one queue or backlog ``[n]``.

    Returns:
      int32 ``[n]``, predicted output tokens.

    Source:
      Chen, Ye, Zhou, *Adaptively Robust LLM Inference Optimization under Prediction Uncertainty*,
      2025, arXiv:2508.14544.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> js.policies.a_max(inst).tolist()
      [2, 4, 1]
    """
    return inst.output_tokens


class _AMin:
    __name__ = "a_min"

    def init(self, obs: Observation) -> Any:
        zero = jnp.zeros(obs.prompt_tokens.shape, jnp.int32)
        return {"least": zero, "generated": zero}

    def update(self, state: Any, obs: Observation, events: Events) -> Any:
        least = jnp.where(events.arrived, obs.output_tokens, state["least"])
        seen = jnp.maximum(least, state["generated"])
        return {
            "least": jnp.where(events.evicted, seen, least),
            "generated": jnp.where(obs.is_real, obs.generated_tokens, 0),
        }

    def __call__(self, obs: Observation, state: Any) -> jax.Array:
        return jnp.where(obs.is_running, -state["least"], state["least"])


_A_MIN = dynamic(_AMin())


def a_min() -> DynamicRule:
    r"""Least lower end of the output first, which evictions raise (:math:`A_{\min}`); dynamic.

    The predictions are taken for :math:`\ell`. Those that wait go by :math:`\tilde\ell` ascending;
    out of memory, whoever runs with the least :math:`\tilde\ell` is evicted, and its
    :math:`\tilde\ell` becomes the number of tokens that it had generated, if that is larger.

    Returns:
      The rule, for servers. The paper's model is one whose admission is ``"look_ahead"`` and whose
      preemption is ``"restart"``; predictions there are the lower ends.

    Source:
      Our form of Chen, Ye, Zhou, *Adaptively Robust LLM Inference Optimization under Prediction
      Uncertainty*, 2025, arXiv:2508.14544.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0], [30, 30], [9, 2])
      >>> js.serve(reqs, js.Server(kv_capacity=48), "a_min").completion_s.tolist()
      [11.0, 2.0]
    """
    return _A_MIN
