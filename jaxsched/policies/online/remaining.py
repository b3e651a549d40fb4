"""Shortest remaining first, with limits on who may be pushed out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched._lib.pytree import pytree
from jaxsched.engine.contract import Observation
from jaxsched.policies._dynamic import DynamicRule, dynamic
from jaxsched.policies.online.constants import real


@pytree
class _ShortestRemaining:
    __name__ = "shortest_remaining"
    safe_after: Any

    def __call__(self, obs: Observation) -> jax.Array:
        left = jnp.maximum(obs.output_tokens - obs.generated_tokens, 1).astype(jnp.float32)
        is_safe = obs.generated_tokens >= self.safe_after * obs.output_tokens
        return jnp.where(obs.is_running & is_safe, -jnp.inf, left)


def shortest_remaining(safe_after: float = 0.8) -> DynamicRule:
    r"""Fewest predicted tokens left first; runners are pushed out early on only; a dynamic rule.

    .. math:: \max(\hat o - \text{generated}, 1)

    Those that run and have generated :math:`C \hat o` tokens are safe from being pushed out.

    Args:
      safe_after: :math:`C`; 0 lets nobody be pushed out, and 1 pushes out as long as there is
        something left (SRPT). A larger one does so also beyond the prediction.

    Returns:
      The rule, for servers whose admission is ``"prompt"`` or ``"chunk"``.

    Raises:
      ValueError: a constant is out of range.

    Source:
      Our form of limited preemption in Shahout, Malach, Liu, Jiang, Yu, Mitzenmacher, *Don't Stop
      Me Now: Embedding Based Scheduling for LLMs* (TRAIL), 2024, arXiv:2410.01035, which predicts
      anew at every token.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 1.0], [30, 30], [9, 2])
      >>> rule = js.policies.shortest_remaining()
      >>> js.serve(reqs, js.Server(kv_capacity=48), rule).completion_s.tolist()
      [11.0, 3.0]
    """
    return dynamic(
        _ShortestRemaining(safe_after=real("safe_after", safe_after, least=0)), evicts=True
    )
