"""Rules that learn how long a request is by how long it has run: queues of several levels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import integer
from jaxsched._lib.pytree import pytree
from jaxsched.engine.contract import Events, Observation
from jaxsched.policies._dynamic import DynamicRule, dynamic
from jaxsched.policies.online.constants import real


@pytree
class _SkipJoin:
    __name__ = "skip_join_mlfq"
    quantum_s: Any
    last_level: Any
    prompt_s: Any
    starve_s: Any

    def init(self, obs: Observation) -> Any:
        zero = jnp.zeros(obs.prompt_tokens.shape, jnp.float32)
        return {"level": zero, "used_s": zero, "last_s": zero}

    def update(self, state: Any, obs: Observation, events: Events) -> Any:
        prefill_s = self.prompt_s * obs.prompt_tokens
        joins = jnp.ceil(jnp.log2(jnp.maximum(prefill_s / self.quantum_s, 1.0)))
        level = jnp.where(events.arrived, jnp.minimum(joins, self.last_level), state["level"])
        gets = events.computed_tokens > 0
        last_s = jnp.where(gets | events.arrived, obs.now_s, state["last_s"])
        used_s = state["used_s"] + gets * events.step_s
        is_over = gets & (used_s >= self.quantum_s * jnp.exp2(level))
        starves = obs.is_real & (obs.now_s - last_s >= self.starve_s)
        level = jnp.where(is_over, jnp.minimum(level + 1.0, self.last_level), level)
        return {
            "level": jnp.where(starves, 0.0, level),
            "used_s": jnp.where(is_over | starves | events.arrived, 0.0, used_s),
            "last_s": jnp.where(starves, obs.now_s, last_s),
        }

    def __call__(self, obs: Observation, state: Any) -> jax.Array:
        return state["level"]


def skip_join_mlfq(
    quantum_s: float = 0.5,
    num_levels: int = 6,
    prompt_s: float = 2e-5,
    starve_s: float = 60.0,
    evicts: bool = True,
) -> DynamicRule:
    r"""Queues whose quanta double; requests sink as they use them up (FastServe); a dynamic rule.

    A request joins the first level :math:`k` whose quantum :math:`2^k q` covers its prefill. Each
    step in which it gets tokens uses up as much as the step takes; at the end of the quantum it
    sinks by one level. Who has had no token for long rises to the first level. Levels are served
    in order, by arrival in each.

    Args:
      quantum_s: :math:`q`, seconds of the first level.
      num_levels: how many levels there are.
      prompt_s: seconds to compute a prompt token.
      starve_s: seconds without a token after which a request rises; infinite for never.
      evicts: whether higher levels push out lower ones; FastServe does, and swaps.

    Returns:
      The rule, for servers. It needs no predictions.

    Raises:
      ValueError: a constant is out of range.

    Source:
      Our form of Wu, Zhong, Zhang, Liu, Liu, Sun, Huang, Liu, Jin, *Fast Distributed Inference
      Serving for Large Language Models*, 2023, arXiv:2305.05920; the constants are ours.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 3.0], [30, 30], [9, 2])
      >>> rule = js.policies.skip_join_mlfq(quantum_s=2.0)
      >>> js.serve(reqs, js.Server(kv_capacity=48), rule).completion_s.tolist()
      [11.0, 5.0]
    """
    if not is_traced(num_levels):
        num_levels = integer("num_levels", num_levels)
    rule = _SkipJoin(
        quantum_s=real("quantum_s", quantum_s, above=0),
        last_level=real("num_levels", num_levels - 1),
        prompt_s=real("prompt_s", prompt_s, least=0),
        starve_s=real("starve_s", starve_s, above=0, most=np.inf),
    )
    return dynamic(rule, evicts=evicts)


class _Slices:
    __name__ = "geometric_slicing"

    def init(self, obs: Observation) -> Any:
        return jnp.zeros(obs.prompt_tokens.shape, jnp.int32)

    def update(self, most: Any, obs: Observation, events: Events) -> Any:
        del events
        return jnp.maximum(most, jnp.where(obs.is_real, obs.generated_tokens, 0))

    def __call__(self, obs: Observation, most: Any) -> jax.Array:
        cut = 31 - jax.lax.clz(jnp.maximum(most, 1))  # 2^cut tokens are behind it
        part = obs.prompt_tokens / (obs.kv_capacity + 1)
        return cut + part.astype(jnp.float32)


_SLICES = dynamic(_Slices(), evicts=True)


def geometric_slicing() -> DynamicRule:
    r"""Classes of output lengths that double, in turn, for unknown lengths (GSA); a dynamic rule.

    A request that has ever generated :math:`g` tokens is in the class
    :math:`\lfloor \log_2 \max(g, 1) \rfloor`. Lower classes go first, short prompts first in each,
    and push out those of higher ones.

    Returns:
      The rule, for servers whose admission is ``"prompt"`` or ``"chunk"``. With preemption
      ``"restart"``, as in the paper, who is pushed out begins anew.

    Source:
      Our form of Feng, Yang, Zhang, *Competitive Non-Clairvoyant KV-Cache Scheduling for LLM
      Inference*, 2026, arXiv:2601.22996, for requests that arrive over time: a slice ends when
      others want its place, and slices are not staggered.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 2.0], [30, 30], [9, 2])
      >>> server = js.Server(kv_capacity=48, preemption="restart")
      >>> js.serve(reqs, server, "geometric_slicing").completion_s.tolist()
      [13.0, 4.0]
    """
    return _SLICES
