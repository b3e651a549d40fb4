"""Rules by the targets that requests come with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched._lib.pytree import pytree
from jaxsched.engine.contract import Observation
from jaxsched.policies._dynamic import DynamicRule, dynamic
from jaxsched.policies.online.constants import real


def earliest_deadline(inst: Any) -> jax.Array:
    r"""Earliest time at which the first token is due first (EDF).

    .. math:: a + \text{TTFT target}

    Requests without a target go behind all others, by arrival.

    Args:
      inst: an observation of one queue ``[n]``; of a backlog, which has no targets, the order is
        that of the rows.

    Returns:
      float32 ``[n]``, seconds.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0], [30, 30], [3, 3], ttft_slo_s=[9.0, 1.0])
      >>> js.serve(reqs, js.Server(kv_capacity=48), "earliest_deadline").completion_s.tolist()
      [6.0, 3.0]
    """
    if not isinstance(inst, Observation):
        return jnp.zeros(inst.prompt_tokens.shape, jnp.float32)
    return inst.arrival_s + inst.ttft_slo_s


@pytree
class _LeastSlack:
    __name__ = "least_slack"
    prefill_s: Any

    def __call__(self, obs: Observation) -> jax.Array:
        left = obs.prompt_tokens + obs.generated_tokens - obs.computed_tokens
        return obs.ttft_slo_s - obs.waited_s - self.prefill_s * left


def least_slack(prefill_s: float = 2e-5) -> DynamicRule:
    r"""Least time to spare before the first token is due first (LLF); a dynamic rule.

    .. math:: a + \text{TTFT target} - t - b \cdot (\text{known} - \text{computed tokens})

    Requests without a target go behind all others, by arrival.

    Args:
      prefill_s: :math:`b`, seconds to compute a token; the default is ours, as of an 8B model.

    Returns:
      The rule, for servers.

    Raises:
      ValueError: a constant is out of range.

    Source:
      Our form of least laxity first, as in Kairos, 2026, arXiv:2605.02329.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0], [20, 30], [3, 3], ttft_slo_s=[8.0, 9.0])
      >>> rule = js.policies.least_slack(prefill_s=0.2)
      >>> js.serve(reqs, js.Server(kv_capacity=48), rule).completion_s.tolist()
      [6.0, 3.0]
    """
    return dynamic(_LeastSlack(prefill_s=real("prefill_s", prefill_s, least=0)))
