r"""Rules that share a server among the clients who send requests.

A client :math:`u` has a counter of service, an entry of an array by its number.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.pytree import pytree
from jaxsched.engine.contract import Events, Observation
from jaxsched.policies._dynamic import DynamicRule, dynamic
from jaxsched.policies.online.constants import real


def _per_client(values: jax.Array, obs: Observation) -> jax.Array:
    """Sum over a client's requests, ``[n]`` by client."""
    return jnp.zeros(values.shape, values.dtype).at[obs.client].add(values)


def _has_queue(waits: jax.Array, obs: Observation) -> jax.Array:
    return jnp.zeros(waits.shape, bool).at[obs.client].max(waits)


def _ahead(costs: jax.Array, obs: Observation) -> jax.Array:
    """Sum over a client's requests in earlier rows, ``[n]`` by request."""
    by_client = jnp.argsort(obs.client, stable=True)
    client, cost = obs.client[by_client], costs[by_client]
    before = jnp.cumsum(cost) - cost
    is_first = jnp.concatenate([jnp.ones(1, bool), client[1:] != client[:-1]])
    place = jnp.arange(len(client))
    first = jax.lax.cummax(jnp.where(is_first, place, 0))
    return jnp.zeros(costs.shape, costs.dtype).at[by_client].set(before - before[first])


@pytree
class _TokenCounter:
    __name__ = "virtual_token_counter"
    prompt_cost: Any
    output_cost: Any

    def init(self, obs: Observation) -> Any:
        return jnp.zeros(obs.prompt_tokens.shape, jnp.float32)

    def update(self, counter: Any, obs: Observation, events: Events) -> Any:
        waits = obs.is_real & ~obs.is_running
        had_queue = _has_queue(waits & ~events.arrived, obs)
        least = jnp.min(jnp.where(had_queue, counter, jnp.inf))
        joins = _has_queue(events.arrived, obs) & ~had_queue & jnp.any(had_queue)
        counter = jnp.where(joins, jnp.maximum(counter, least), counter)
        service = self.prompt_cost * obs.prompt_tokens * events.admitted
        return counter + _per_client(service + self.output_cost * events.new_tokens, obs)

    def __call__(self, obs: Observation, counter: Any) -> jax.Array:
        waits = obs.is_real & ~obs.is_running
        costs = jnp.where(waits, self.prompt_cost * obs.prompt_tokens, 0.0)
        return counter[obs.client] + jnp.where(waits, _ahead(costs, obs), 0.0)


def virtual_token_counter(prompt_cost: float = 1.0, output_cost: float = 2.0) -> DynamicRule:
    r"""Serve the client who has been served least first (VTC); a dynamic rule.

    A client's requests go by arrival. Its counter grows by :math:`c_s s` when one is admitted, and
    by :math:`c_o` with each output token. A client that comes back to the queue starts from the
    least counter of those in it, if its own is smaller.

    Args:
      prompt_cost: :math:`c_s`.
      output_cost: :math:`c_o`.

    Returns:
      The rule, for servers and requests with a ``client``. It needs no predictions.

    Raises:
      ValueError: a constant is out of range.

    Source:
      Sheng, Cao, Li, Zhu, Li, Zhuo, Gonzalez, Stoica, *Fairness in Serving Large Language Models*,
      2024, arXiv:2401.00588. Of clients that come to an empty queue at once, none is raised.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays(
      ...     [0.0, 0.0, 0.0], [30, 30, 30], [3, 3, 3], client=[0, 0, 1]
      ... )
      >>> js.serve(reqs, js.Server(kv_capacity=48), "virtual_token_counter").completion_s.tolist()
      [3.0, 9.0, 6.0]
    """
    return dynamic(
        _TokenCounter(
            prompt_cost=real("prompt_cost", prompt_cost, least=0),
            output_cost=real("output_cost", output_cost, least=0),
        )
    )


@pytree
class _AttainedService:
    __name__ = "least_attained_service"
    half_life_s: Any
    service_weight: Any
    output_cost: Any

    def init(self, obs: Observation) -> Any:
        return jnp.zeros(obs.prompt_tokens.shape, jnp.float32)

    def update(self, service: Any, obs: Observation, events: Events) -> Any:
        prompt = events.computed_tokens - events.new_tokens * (events.computed_tokens == 1)
        tokens = prompt + self.output_cost * events.new_tokens
        return service * jnp.exp2(-events.step_s / self.half_life_s) + _per_client(tokens, obs)

    def __call__(self, obs: Observation, service: Any) -> jax.Array:
        attained = jnp.where(obs.is_real, service[obs.client], 0.0)
        return self.service_weight * _share(attained) - (1.0 - self.service_weight) * _share(
            obs.waited_s
        )


def _share(values: jax.Array) -> jax.Array:
    """Of the largest; 0 where all are."""
    return values / jnp.maximum(jnp.max(values), 1e-9)


def least_attained_service(
    half_life_s: float = 60.0, service_weight: float = 0.8, output_cost: float = 2.0
) -> DynamicRule:
    r"""Serve those first whose client had least service lately, or who waited; a dynamic rule.

    .. math:: w \frac{S_u}{\max_v S_v} - (1 - w) \frac{t - a}{\max (t - a)}

    :math:`S_u` counts a client's prompt tokens as 1 and its output tokens as :math:`c_o`, and
    halves in every half-life.

    Args:
      half_life_s: seconds; infinite for a service that never fades.
      service_weight: :math:`w`, from 0 to 1.
      output_cost: :math:`c_o`.

    Returns:
      The rule, for servers and requests with a ``client``. It needs no predictions.

    Raises:
      ValueError: a constant is out of range.

    Source:
      The idea and the constants are those of ``program-aware-fairness`` in llm-d, and the form is
      ours.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays(
      ...     [0.0, 0.0, 0.0], [30, 30, 30], [3, 3, 3], client=[0, 0, 1]
      ... )
      >>> js.serve(reqs, js.Server(kv_capacity=48), "least_attained_service").completion_s.tolist()
      [3.0, 9.0, 6.0]
    """
    return dynamic(
        _AttainedService(
            half_life_s=real("half_life_s", half_life_s, above=0, most=np.inf),
            service_weight=real("service_weight", service_weight, least=0, most=1),
            output_cost=real("output_cost", output_cost, least=0),
        )
    )
