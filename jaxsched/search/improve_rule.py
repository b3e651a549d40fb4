"""The search over orders as a rule by name."""

from __future__ import annotations

import jax
import numpy as np

from jaxsched._lib.errors import MAX_INT32, integer
from jaxsched.engine.contract import Discipline
from jaxsched.model.instance import Instance
from jaxsched.policies import HostRule, Rule, host_rule, rule_name
from jaxsched.search.improve import improve


def improved(
    start: Rule | str = "smallest_volume",
    num_steps: int = 1000,
    num_chains: int = 64,
    seed: int = 0,
    discipline: Discipline = "strict",
) -> HostRule:
    """Serve in the best order found by simulated annealing from another rule's order.

    Args:
      start: the rule to start from, or its name.
      num_steps: see :func:`jaxsched.improve`, as for the others.
      num_chains: chains an instance.
      seed: of the random moves.
      discipline: that the order is improved for; give ``compare`` the same.

    Returns:
      A host rule: positions in the best order, int32 ``[n]``.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([4, 1, 2, 3], [3, 4, 2, 1], kv_capacity=8)
      >>> rule = js.policies.make("improve", num_steps=20, num_chains=2)
      >>> js.simulate(inst, rule(inst)).completion.sum().item()
      15

    Raises:
      ValueError: a number is none, or out of range.

    Source:
      Ours; see :func:`jaxsched.improve`.
    """
    integer("num_steps", num_steps, 1, MAX_INT32)
    integer("num_chains", num_chains, 1, MAX_INT32)
    integer("seed", seed, 0, MAX_INT32)

    def best_order(inst: Instance) -> np.ndarray:
        improvement = improve(
            inst,
            start,
            num_steps=num_steps,
            num_chains=num_chains,
            key=jax.random.key(seed),
            discipline=discipline,
            progress=False,
        )
        return np.asarray(improvement.priority)

    is_default = isinstance(start, str) and start == "smallest_volume"
    return host_rule(best_order, "improve" if is_default else f"improve[{rule_name(start)}]")
