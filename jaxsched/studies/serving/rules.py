"""Rules that serve requests, by the names they go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.policies import Rule, rule_name

#: One rule, several, or a dict that names them: names or rules, as :func:`jaxsched.serve` takes.
ServingRules = Rule | str | Sequence[Rule | str] | Mapping[str, Rule | str]


def by_name(rules: ServingRules) -> dict[str, Any]:
    """Name rules, which go to :func:`jaxsched.serve` untouched, or raise."""
    if isinstance(rules, Mapping):
        named = dict(rules)
    else:
        named = {}
        for rule in [rules] if isinstance(rules, str) or callable(rules) else rules:
            if (name := rule_name(rule)) in named:
                raise ValueError(
                    f"two rules are called {name!r}; tell them apart with a dict {{name: rule}}"
                )
            named[name] = rule
    if not named:
        raise ValueError("there are no rules; give at least one")
    return named


def predictions_text(reqs: Requests) -> str:
    """Say what rules know of output lengths."""
    predicted, is_real = reqs.predicted_output_tokens, np.asarray(reqs.is_real)
    is_exact = predicted is None or np.array_equal(
        np.asarray(predicted)[is_real], np.asarray(reqs.output_tokens)[is_real]
    )
    known = "exact" if is_exact else "the requests' own"
    return f"rules know output lengths only as predicted; here predictions are {known}"


def require_one(server: Server) -> None:
    """Raise if there are several servers."""
    for leaf in jax.tree.leaves(server):
        if np.ndim(leaf):
            finding = f"has numbers of shape {np.shape(leaf)}"
            raise InputError("server", server, "expected one server", finding=finding)
