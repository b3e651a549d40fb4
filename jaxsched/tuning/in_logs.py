"""Rules whose constants are positive, tuned by their logarithms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched._lib.pytree import pytree, static
from jaxsched.engine.contract import Events, Observation
from jaxsched.policies import DynamicRule, dynamic, rule_name
from jaxsched.tuning._parameters import as_parameters


@pytree
class InLogs:
    """A rule whose leaves are logarithms of another's; made by :func:`in_logs`.

    Attributes:
      logs: the other rule, with logarithms for leaves.
      name: what tables call it; static.
    """

    logs: Any
    name: str = static(default="")

    @property
    def __name__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.name

    def plain(self) -> Any:
        """Return the other rule, as it stands now."""
        return jax.tree.map(jnp.exp, self.logs)

    def __call__(self, shown: Any, *state: Any) -> Any:
        """Return the numbers of the other rule."""
        return self.plain()(shown, *state)


@pytree
class _WithState(InLogs):
    """The same of a dynamic rule that keeps a state."""

    def init(self, obs: Observation) -> Any:
        return self.plain().init(obs)

    def update(self, state: Any, obs: Observation, events: Events) -> Any:
        return self.plain().update(state, obs, events)


def in_logs(rule: Any) -> Any:
    """Give a rule logarithms of its constants for leaves, so that steps are shares of them.

    Constants such as seconds a token and tokens a second differ by orders of magnitude. A step of
    0.05 in a logarithm is 5%, whatever the unit, and no constant changes its sign.

    Args:
      rule: a pytree whose leaves are positive, static or dynamic.

    Returns:
      A rule that orders alike; :func:`from_logs` turns it back.

    Raises:
      ValueError: the rule has no parameters, or one that is not above 0.

    Example:
      >>> import jaxsched as js
      >>> rule = js.tuning.in_logs(js.policies.aged_prompt(tokens_per_s=100.0))
      >>> round(float(js.tuning.from_logs(rule).tokens_per_s), 3)
      100.0
    """
    rule = as_parameters(rule)
    for path, leaf in jax.tree_util.tree_leaves_with_path(rule):
        if not (np.asarray(leaf) > 0).all():
            where = jax.tree_util.keystr(path)
            raise InputError("rule", leaf, f"expected numbers > 0 for leaf {where} to have a log")
    logs = jax.tree.map(jnp.log, rule)
    if not isinstance(rule, DynamicRule):
        return InLogs(logs, rule_name(rule))
    kind = _WithState if rule.has_state else InLogs
    return dynamic(kind(logs, rule.name), evicts=rule.evicts)


def from_logs(rule: Any) -> Any:
    """Turn a rule of :func:`in_logs` back, as it stands now, such as when it is tuned.

    Args:
      rule: what :func:`in_logs` returned, maybe with other leaves.

    Returns:
      The rule whose leaves are the constants. Any other rule is returned as it is.

    Example:
      >>> import jaxsched as js
      >>> rule = js.tuning.in_logs(js.policies.highest_response_ratio())
      >>> js.tuning.from_logs(rule).name
      'highest_response_ratio'
    """
    inner = rule.rule if isinstance(rule, DynamicRule) else rule
    return inner.plain() if isinstance(inner, InLogs) else rule
