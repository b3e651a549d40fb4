"""Rules that run on the host, the names of rules, and what a rule may return."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched.engine.contract import Rule
from jaxsched.model.instance import Instance

#: What jax raises where a rule looks at numbers that are traced.
NEEDS_CONCRETE_NUMBERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class HostRule:
    """A rule that needs concrete numbers; made by :func:`host_rule`."""

    def __init__(self, function: Callable[[Instance], Any], name: str | None = None):
        functools.update_wrapper(self, function)
        self._function = function
        #: What tables and errors call it.
        self.name = rule_name(function) if name is None else name

    def __call__(self, inst: Instance) -> np.ndarray:
        """Return the priorities of one instance ``[n]``, whose leaves reach the rule as numpy."""
        name = self.name
        require_concrete(name, inst)
        if leading := np.shape(inst.kv_capacity):
            raise ValueError(
                f"host rule {name!r} takes one instance but was given leading axes {leading}; "
                "js.prioritize(inst, rule) maps it over them"
            )
        priority = np.asarray(self._function(jax.tree.map(np.asarray, inst)))
        require_priorities(name, priority, inst.prompt_tokens.shape[-1])
        return priority

    def __repr__(self) -> str:
        return f"host_rule({self.name})"


def host_rule(function: Callable[[Instance], Any], name: str | None = None) -> HostRule:
    """Mark a rule as one that runs on the host, for solvers, searches and plain numpy.

    Args:
      function: takes one instance ``[n]`` whose leaves are (read-only) numpy arrays and returns
        ``[n]`` priorities, lower first. Lengths are int32, so a product of two of them wants
        ``astype`` first.
      name: what tables and errors call it; by default the name of the function.

    Returns:
      The rule, for :func:`prioritize` and everything that takes one.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> @js.policies.host_rule
      ... def longest_output(inst):
      ...     return -np.asarray(inst.output_tokens)
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> longest_output(inst).tolist()
      [-2, -4]
    """
    return HostRule(function, name)


def rule_name(rule: Rule | str) -> str:
    """Name a rule in tables and errors: its function's or class's name; a string is itself.

    Args:
      rule: a rule, or the name of one.

    Returns:
      The name.

    Example:
      >>> import jaxsched as js
      >>> js.policies.rule_name(js.policies.fcfs), js.policies.rule_name("svf")
      ('fcfs', 'svf')
    """
    if isinstance(rule, str):
        return rule
    if isinstance(rule, HostRule):
        return rule.name
    if isinstance(rule, functools.partial):
        return rule_name(rule.func)
    return getattr(rule, "__name__", type(rule).__name__)


def require_concrete(name: str, inst: Instance) -> None:
    """Raise if ``inst`` is being traced, where a host rule cannot follow."""
    refuse_traced(
        f"host rule {name!r} needs concrete numbers",
        "call js.prioritize(inst, rule) outside and pass the priorities in",
        inst,
    )


def require_priorities(name: str, priority: Any, num_requests: int) -> None:
    """Raise unless ``priority`` is an integer or float array ``[num_requests]``."""
    if not (hasattr(priority, "shape") and hasattr(priority, "dtype")):
        kind = type(priority).__name__
    else:
        kind = f"{priority.dtype}[{', '.join(map(str, priority.shape))}]"
        if priority.shape == (num_requests,):
            is_number = jnp.issubdtype(priority.dtype, np.integer) or jnp.issubdtype(
                priority.dtype, np.floating
            )
            if is_number:
                return
            raise TypeError(f"rule {name!r} returned {kind}; expected integers or floats")
    raise ValueError(
        f"rule {name!r} returned {kind}; expected [{num_requests}], one priority for each request"
    )
