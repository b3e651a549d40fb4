"""Rules for servers with a few constants: taken apart for a file, and put together again."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxsched._lib.documents import NUMBER, Fields, Value, is_number
from jaxsched._lib.registry import Registry
from jaxsched.policies._dynamic import DynamicRule
from jaxsched.policies.online.ageing import aged_priority, aged_prompt, aged_size, fading_prompt
from jaxsched.policies.online.boost import gamma_boost, uniboost
from jaxsched.policies.online.deadlines import least_slack
from jaxsched.policies.online.fair_share import least_attained_service, virtual_token_counter
from jaxsched.policies.online.ratios import highest_response_ratio
from jaxsched.policies.online.remaining import shortest_remaining

_MADE_BY = (
    aged_prompt,
    aged_priority,
    aged_size,
    fading_prompt,
    gamma_boost,
    uniboost,
    least_slack,
    virtual_token_counter,
    least_attained_service,
    highest_response_ratio,
    shortest_remaining,
)
FACTORIES: Registry[Callable[..., Any]] = Registry(
    "kind of rule", {factory.__name__: factory for factory in _MADE_BY}
)
_CHOICE = "evicts"
_TRUTH = Value("true or false", lambda value: isinstance(value, bool))
#: What any constant of a file has to be.
CONSTANT = Value(
    "a finite number, true or false", lambda value: isinstance(value, bool) or is_number(value)
)


def constants_of(rule: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the name of a rule and what makes it anew, or None for a rule of another kind."""
    name = getattr(rule, "__name__", None)
    inner = rule.rule if isinstance(rule, DynamicRule) else rule
    if not isinstance(name, str) or name not in FACTORIES or not dataclasses.is_dataclass(inner):
        return None
    options = {
        field.name: float(np.float32(getattr(inner, field.name)))
        for field in dataclasses.fields(inner)
    }
    if _CHOICE in inspect.signature(FACTORIES[name]).parameters:
        options[_CHOICE] = rule.evicts
    return name, options


def rule_of(name: str, options: Mapping[str, Any]) -> Any:
    """Make a rule of what a file says, or raise."""
    factory = FACTORIES[name]
    known = dict.fromkeys(inspect.signature(factory).parameters, NUMBER)
    if _CHOICE in known:
        known[_CHOICE] = _TRUTH
    Fields(known).check(options, "parameters")
    return factory(**options)
