"""Rules by waiting over work: highest response ratio next."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError
from jaxsched._lib.pytree import pytree
from jaxsched.engine.contract import Events, Observation
from jaxsched.policies._dynamic import DynamicRule, dynamic
from jaxsched.policies.online.constants import real


@pytree
class _ResponseRatio:
    __name__ = "highest_response_ratio"
    prompt_cost: Any
    output_cost: Any

    def __call__(self, obs: Observation) -> jax.Array:
        work = self.prompt_cost * obs.prompt_tokens + self.output_cost * obs.output_tokens
        return -obs.waited_s / work


def highest_response_ratio(prompt_cost: float = 1.0, output_cost: float = 2.0) -> DynamicRule:
    r"""Longest wait for its work first (HRRN); a dynamic rule.

    .. math:: \frac{t - a}{c_s s + c_o \hat o} \quad\text{descending}

    Response is waiting plus work, and their ratio to work differs from this by 1 for everybody.

    Args:
      prompt_cost: :math:`c_s`, work of a prompt token.
      output_cost: :math:`c_o`, work of a predicted output token; 0 for a rule that needs no
        predictions.

    Returns:
      The rule, for servers.

    Raises:
      ValueError: a constant is out of range.

    Source:
      Per Brinch Hansen, *An Analysis of Response Ratio Scheduling*, 1971; costs of tokens as in
      Sheng et al., *Fairness in Serving Large Language Models*, 2024, arXiv:2401.00588.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 1.0], [60, 40, 20], [3, 3, 3])
      >>> rule = js.policies.highest_response_ratio()
      >>> js.serve(reqs, js.Server(kv_capacity=96), rule).completion_s.tolist()
      [3.0, 6.0, 6.0]
    """
    costs = {
        "prompt_cost": real("prompt_cost", prompt_cost, least=0),
        "output_cost": real("output_cost", output_cost, least=0),
    }
    if not is_traced(costs) and np.any(costs["prompt_cost"] + costs["output_cost"] == 0):
        raise InputError(
            "prompt_cost",
            prompt_cost,
            "expected one of the two > 0",
            finding="and output_cost are 0",
        )
    return dynamic(_ResponseRatio(**costs))


class _TokenRatio:
    """The clock is the number of prompt tokens that the server has computed."""

    __name__ = "token_response_ratio"

    def init(self, obs: Observation) -> Any:
        return {"clock": jnp.int32(0), "arrived": jnp.zeros(obs.prompt_tokens.shape, jnp.int32)}

    def update(self, state: Any, obs: Observation, events: Events) -> Any:
        is_prompt = obs.generated_tokens == events.new_tokens  # had generated nothing before
        tokens = jnp.sum(jnp.where(is_prompt, events.computed_tokens, 0), dtype=jnp.int32)
        arrived = jnp.where(events.arrived, state["clock"], state["arrived"])
        return {"clock": state["clock"] + tokens, "arrived": arrived}

    def __call__(self, obs: Observation, state: Any) -> jax.Array:
        left = obs.prompt_tokens + obs.generated_tokens - obs.computed_tokens
        return -(state["clock"] - state["arrived"]) / jnp.maximum(left, 1)


_TOKEN_RATIO = dynamic(_TokenRatio())


def token_response_ratio() -> DynamicRule:
    r"""Longest wait for its prompt first, by a clock that counts prompt tokens; a dynamic rule.

    .. math:: \frac{T(t) - T(a)}{s - \text{computed}} \quad\text{descending}

    :math:`T` is the number of prompt tokens that the server has computed; those that it computes
    anew after an eviction do not count once the request has generated tokens. No prediction is
    needed.

    Returns:
      The rule, for servers.

    Source:
      The idea is that of ``hrrn`` in SGLang's ``schedule_policy.py``, and the form is ours.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 1.0], [60, 40, 20], [3, 3, 3])
      >>> rule = js.policies.token_response_ratio()
      >>> js.serve(reqs, js.Server(kv_capacity=96), rule).completion_s.tolist()
      [3.0, 6.0, 6.0]
    """
    return _TOKEN_RATIO
