r"""Rules that let arrivals count as earlier the smaller the request: boosts.

.. math:: a - b(x), \qquad b(x) = \frac1g \ln \frac{1}{1 - e^{-g x}}

For :math:`g \to 0` the smallest goes first, and for :math:`g \to \infty` the first that came.
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

_LEAST_S = 1e-6  # the boost of no work at all would be infinite
_LEAST_GAMMA = 1e-30  # floats of 32 bits hold the boosts of no smaller one


def _boost_s(gamma: jax.Array, work_s: jax.Array) -> jax.Array:
    return -jnp.log(-jnp.expm1(-gamma * jnp.maximum(work_s, _LEAST_S))) / gamma


def _constants(gamma: Any, prompt_s: Any, output_s: Any) -> dict[str, jax.Array]:
    return {
        "gamma": real("gamma", gamma, least=_LEAST_GAMMA),
        "prompt_s": real("prompt_s", prompt_s, least=0),
        "output_s": real("output_s", output_s, least=0),
    }


@pytree
class _GammaBoost:
    __name__ = "gamma_boost"
    gamma: Any
    prompt_s: Any
    output_s: Any

    def __call__(self, inst: Any) -> jax.Array:
        work_s = self.prompt_s * inst.prompt_tokens + self.output_s * inst.output_tokens
        return arrival_s(inst) - _boost_s(self.gamma, work_s)


def gamma_boost(
    gamma: float = 1 / 30, prompt_s: float = 2e-5, output_s: float = 1e-2
) -> _GammaBoost:
    r"""First come first served, where a request counts as earlier the less work it is.

    .. math:: a - \frac1g \ln \frac{1}{1 - e^{-g x}}, \qquad x = b s + c \hat o

    Args:
      gamma: :math:`g`, one over seconds, at least 1e-30.
      prompt_s: :math:`b`, seconds of a prompt token; the default is ours, as of an 8B model.
      output_s: :math:`c`, seconds of a predicted output token, likewise.

    Returns:
      The rule, for servers and, with all arrivals at 0, for backlogs.

    Raises:
      ValueError: a constant is out of range.

    Source:
      Our form of Yu, Scully, *Strongly Tail-Optimal Scheduling in the Light-Tailed M/G/1*, 2024,
      arXiv:2404.08826, in which one server works on one request at a time.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 1.0], [60, 40, 20], [3, 3, 3])
      >>> rule = js.policies.gamma_boost(prompt_s=0.1)
      >>> js.serve(reqs, js.Server(kv_capacity=80), rule).completion_s.tolist()
      [7.0, 3.0, 4.0]
    """
    return _GammaBoost(**_constants(gamma, prompt_s, output_s))


@pytree
class _Uniboost:
    __name__ = "uniboost"
    gamma: Any
    prompt_s: Any
    output_s: Any

    def __call__(self, obs: Observation) -> jax.Array:
        work_s = self.prompt_s * obs.prompt_tokens + self.output_s * obs.generated_tokens
        return obs.arrival_s - _boost_s(self.gamma, work_s)


def uniboost(
    gamma: float = 1 / 30, prompt_s: float = 2e-5, output_s: float = 1e-2, evicts: bool = False
) -> DynamicRule:
    r"""Boost by the work done so far instead of predicted work; a dynamic rule.

    .. math:: a - \frac1g \ln \frac{1}{1 - e^{-g x}}, \qquad x = b s + c \cdot \text{generated}

    Args:
      gamma: :math:`g`, one over seconds, at least 1e-30.
      prompt_s: :math:`b`, seconds of a prompt token.
      output_s: :math:`c`, seconds of an output token.
      evicts: whether those that wait push out those that run, see :func:`dynamic`.

    Returns:
      The rule, for servers. It needs no predictions.

    Raises:
      ValueError: a constant is out of range.

    Source:
      Our form of UniBoost, 2026, arXiv:2606.18431, whose formula was not at hand.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 1.0], [60, 40, 20], [3, 3, 3])
      >>> rule = js.policies.uniboost(prompt_s=0.1)
      >>> js.serve(reqs, js.Server(kv_capacity=80), rule).completion_s.tolist()
      [7.0, 3.0, 4.0]
    """
    return dynamic(_Uniboost(**_constants(gamma, prompt_s, output_s)), evicts=evicts)
