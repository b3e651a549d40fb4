"""A rule as plain Python on the numbers of one request."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.errors import InputError, integer
from jaxsched._lib.pytree import pytree
from jaxsched._lib.rowwise import is_rowwise
from jaxsched._lib.scalar_python import NotScalar, scalar_python
from jaxsched.engine.contract import Observation
from jaxsched.policies._dynamic import DynamicRule
from jaxsched.policies._rule import HostRule, require_priorities, rule_name
from jaxsched.policies.features import feature
from jaxsched.policies.registry import resolve
from jaxsched.policies.scores.index import fcfs, smallest_volume
from jaxsched.policies.scores.linear_score import LinearScore
from jaxsched.policies.scores.mlp_score import MLPScore

_ROWS = 97  # of the trace; no rule has arrays of its own of that many numbers

#: What a gateway knows of a request.
_KNOWN = {
    "prompt_tokens": jnp.int32,
    "output_tokens": jnp.int32,
    "arrival_s": jnp.float32,
    "priority": jnp.float32,
    "client": jnp.int32,
    "ttft_slo_s": jnp.float32,
    "tpot_slo_s": jnp.float32,
    "weight": jnp.float32,
}
#: What is so of all requests that have just arrived.
_ON_ARRIVAL = {
    "is_real": True,
    "now_s": 0.0,
    "waited_s": 0.0,
    "generated_tokens": 0,
    "computed_tokens": 0,
    "is_running": False,
}
_SCALARS = ("kv_capacity", "now_s")
_CALLED = {"priority": "request_class"}  # where the lines have another name for it


@pytree
class _Seen(Observation):
    """What a gateway may know beside what servers show.

    Attributes:
      weight: float32 ``[n]``, as of an instance.
    """

    weight: jax.Array


class Written(NamedTuple):
    """A rule's number as plain Python.

    Attributes:
      lines: assignments.
      result: the name or the expression that is the number.
      reads: what they read.
      is_float: whether it is a float32, otherwise an integer.
      helpers: functions that the lines call.
    """

    lines: list[str]
    result: str
    reads: frozenset[str]
    is_float: bool = False
    helpers: str = ""


_BY_HAND = {
    fcfs: Written([], "0", frozenset()),
    smallest_volume: Written(  # by integers of any size, as the rule's own ranks are
        [],
        "output_tokens * (2 * prompt_tokens + output_tokens + 1) // 2",
        frozenset(("prompt_tokens", "output_tokens")),
    ),
}


def written(rule: Any, kv_capacity: Any) -> Written:
    """Write out the number that a rule gives a request when it arrives.

    Args:
      rule: a rule or its name.
      kv_capacity: tokens of the server's cache, or None.

    Raises:
      InputError: the rule cannot say a request's number from the request alone, or needs the
        capacity.
    """
    name, rule = rule_name(rule), resolve(rule)
    if isinstance(rule, DynamicRule):
        raise _refused(name, "is dynamic: its numbers change while requests wait")
    if isinstance(rule, HostRule):
        raise _refused(name, "is a host rule: it looks at all requests of a backlog")
    if any(rule is each for each in _BY_HAND):
        return _BY_HAND[rule]
    program, arguments = _traced(_by_request(rule), name)
    if not is_rowwise(program, _ROWS):
        raise _refused(name, "looks across requests, such as by ranks, sums or the row's number")
    if kv_capacity is not None:
        capacity = integer("kv_capacity", kv_capacity)
        arguments = [capacity if each == "kv_capacity" else each for each in arguments]
    try:
        scalars = scalar_python(program, arguments)
    except NotScalar as error:
        raise _refused(name, str(error)) from None
    if "kv_capacity" in scalars.reads:
        raise InputError(
            "kv_capacity",
            None,
            "give the tokens of the server's cache",
            finding=f"is missing; rule {name!r} uses it",
        )
    return Written(
        lines=scalars.lines,
        result=scalars.result,
        reads=scalars.reads,
        is_float=scalars.dtype == "float32",
        helpers=scalars.helpers,
    )


def _traced(rule: Callable[[Any], Any], name: str) -> tuple[Any, list[Any]]:
    """Trace a rule on rows; each input is the name of a field, or what all rows have there."""
    kinds = {bool: jnp.bool_, int: jnp.int32, float: jnp.float32}
    on_arrival = {field: kinds[type(value)] for field, value in _ON_ARRIVAL.items()}
    fields = {**_KNOWN, **on_arrival, "kv_capacity": jnp.int32}

    def numbers(shown: dict[str, Any]) -> Any:
        priority = rule(_Seen(**shown))
        require_priorities(name, priority, _ROWS)
        return priority

    with jax.enable_x64(False):
        shown = {
            field: jax.ShapeDtypeStruct(() if field in _SCALARS else (_ROWS,), dtype)
            for field, dtype in fields.items()
        }
        program = jax.make_jaxpr(numbers)(shown)
    called = {**_CALLED, **_ON_ARRIVAL}
    return program, [called.get(field, field) for field in sorted(fields)]


def _by_request(rule: Any) -> Callable[[Any], Any]:
    """Say it number by number where a rule multiplies arrays of features and weights."""
    if isinstance(rule, LinearScore):
        return lambda obs: _sum(_weighed(obs, rule.features, np.asarray(rule.weights)))
    if isinstance(rule, MLPScore):
        columns, bias = np.asarray(rule.hidden_weights).T, np.asarray(rule.hidden_bias)

        def network(obs: Any) -> Any:
            hidden = [
                jnp.maximum(_sum(_weighed(obs, rule.features, column)) + each, 0.0)
                for column, each in zip(columns, bias, strict=True)
            ]
            weights = np.asarray(rule.weights)
            return _sum([one * weight for one, weight in zip(hidden, weights, strict=True)])

        return network
    return rule


def _weighed(obs: Any, names: tuple[str, ...], weights: np.ndarray) -> list[Any]:
    return [feature(name, obs) * weight for name, weight in zip(names, weights, strict=True)]


def _sum(terms: list[Any]) -> Any:
    return functools.reduce(operator.add, terms)


def _refused(name: str, finding: str) -> InputError:
    return InputError(
        "rule",
        name,
        "an engine takes one number, when a request arrives; expected a rule of the request "
        "alone, such as smallest_volume, gamma_boost, aged_size or linear_score",
        finding=f"{name!r} {finding}",
    )
