r"""Rules by length in which waiting counts as well.

What falls by a constant rate of waiting, :math:`x - r\,(t - a)` at time :math:`t`, orders requests
as :math:`x + r a` does, whatever the time. Such rules need no more than the arrival :math:`a`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched._lib.pytree import pytree
from jaxsched.engine.contract import Observation
from jaxsched.policies._dynamic import DynamicRule, dynamic
from jaxsched.policies.online.arrivals import arrival_s
from jaxsched.policies.online.constants import real


@pytree
class _AgedPrompt:
    __name__ = "aged_prompt"
    tokens_per_s: Any

    def __call__(self, inst: Any) -> jax.Array:
        return inst.prompt_tokens + self.tokens_per_s * arrival_s(inst)


def aged_prompt(tokens_per_s: float = 100.0) -> _AgedPrompt:
    r"""Fewest prompt tokens first, less a number of tokens for each second of waiting.

    .. math:: s - r\,(t - a), \quad\text{in the order of}\quad s + r a

    Args:
      tokens_per_s: :math:`r`; 0 is ``shortest_prompt``, and a large one ``fcfs``.

    Returns:
      The rule, for servers and, with all arrivals at 0, for backlogs.

    Raises:
      ValueError: a constant is out of range.

    Source:
      SGLang, pull request 30806, where the rate is an argument of the server. The default is ours.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 0.5], [60, 40, 20], [3, 3, 3])
      >>> rule = js.policies.aged_prompt(tokens_per_s=10.0)
      >>> js.serve(reqs, js.Server(kv_capacity=80), rule).completion_s.tolist()
      [7.0, 3.0, 4.0]
    """
    return _AgedPrompt(tokens_per_s=real("tokens_per_s", tokens_per_s, least=0))


@pytree
class _AgedPriority:
    __name__ = "aged_priority"
    per_s: Any

    def __call__(self, inst: Any) -> jax.Array:
        if not isinstance(inst, Observation):
            return jnp.zeros(inst.prompt_tokens.shape, jnp.float32)
        return inst.priority + self.per_s * inst.arrival_s


def aged_priority(per_s: float = 0.1) -> _AgedPriority:
    r"""Order by requests' own priorities, less a constant for each second of waiting.

    .. math:: p - r\,(t - a), \quad\text{in the order of}\quad p + r a

    Args:
      per_s: :math:`r`, priority that a second of waiting is worth.

    Returns:
      The rule, for servers; in a backlog, which has no priorities, it is ``fcfs``.

    Raises:
      ValueError: a constant is out of range.

    Source:
      vLLM, pull request 20608 (closed), with 0.1. The form for backlogs is ours.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 1.0], [30] * 3, [3] * 3, priority=[2, 1, 0])
      >>> rule = js.policies.aged_priority(per_s=5.0)
      >>> js.serve(reqs, js.Server(kv_capacity=48), rule).completion_s.tolist()
      [6.0, 3.0, 9.0]
    """
    return _AgedPriority(per_s=real("per_s", per_s, least=0))


@pytree
class _AgedSize:
    __name__ = "aged_size"
    size_weight: Any
    half_tokens: Any
    wait_weight: Any
    wait_unit_s: Any

    def __call__(self, inst: Any) -> jax.Array:
        short = self.size_weight / (1.0 + inst.prompt_tokens / self.half_tokens)
        return self.wait_weight * arrival_s(inst) / self.wait_unit_s - short


def aged_size(
    size_weight: float = 0.5,
    half_tokens: float = 32768.0,
    wait_weight: float = 0.5,
    wait_unit_s: float = 5.0,
) -> _AgedSize:
    r"""Short prompts and long waits, weighed.

    .. math:: \frac{w_s}{1 + s / h} + w_t \frac{t - a}{u} \quad\text{descending}

    Args:
      size_weight: :math:`w_s`.
      half_tokens: :math:`h`, the prompt that counts half.
      wait_weight: :math:`w_t`.
      wait_unit_s: :math:`u`, seconds.

    Returns:
      The rule, for servers and, with all arrivals at 0, for backlogs.

    Raises:
      ValueError: a constant is out of range.

    Source:
      TensorRT-LLM, pull request 12428, with these constants. The form for backlogs is ours.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 0.5], [60, 40, 20], [3, 3, 3])
      >>> rule = js.policies.aged_size(half_tokens=10.0)
      >>> js.serve(reqs, js.Server(kv_capacity=80), rule).completion_s.tolist()
      [7.0, 3.0, 4.0]
    """
    return _AgedSize(
        size_weight=real("size_weight", size_weight, least=0),
        half_tokens=real("half_tokens", half_tokens, above=0),
        wait_weight=real("wait_weight", wait_weight, least=0),
        wait_unit_s=real("wait_unit_s", wait_unit_s, above=0),
    )


@pytree
class _FadingPrompt:
    __name__ = "fading_prompt"
    per_s: Any

    def __call__(self, obs: Observation) -> jax.Array:
        left = obs.prompt_tokens + obs.generated_tokens - obs.computed_tokens
        return left * jnp.maximum(1.0 - self.per_s * obs.waited_s, 0.0)


def fading_prompt(per_s: float = 0.1) -> DynamicRule:
    r"""Fewest tokens to prefill first, a number that waiting brings to 0; a dynamic rule.

    .. math:: (s - \text{computed}) \cdot \max(0, 1 - r\,(t - a))

    Args:
      per_s: :math:`r`; after :math:`1 / r` seconds requests count nothing, and go by arrival.

    Returns:
      The rule, for servers.

    Raises:
      ValueError: a constant is out of range.

    Source:
      TensorRT-LLM, pull request 13096. The default is ours.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 0.5], [60, 40, 20], [3, 3, 3])
      >>> rule = js.policies.fading_prompt(per_s=0.01)
      >>> js.serve(reqs, js.Server(kv_capacity=80), rule).completion_s.tolist()
      [7.0, 3.0, 4.0]
    """
    return dynamic(_FadingPrompt(per_s=real("per_s", per_s, least=0)))
