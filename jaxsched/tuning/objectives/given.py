"""Whether what is given as an objective is one."""

from __future__ import annotations

from typing import Any

from jaxsched._lib.errors import InputError
from jaxsched._lib.names import nearest
from jaxsched.tuning.objectives.backlog import OBJECTIVES
from jaxsched.tuning.objectives.seconds import (
    mean_e2e,
    mean_slowdown,
    mean_tpot,
    mean_ttft,
    p99_e2e,
    p99_slowdown,
    p99_tpot,
    p99_ttft,
)
from jaxsched.tuning.objectives.sums import weighted_sum
from jaxsched.tuning.objectives.within_targets import attainment, goodput

_MADE_BY = (
    *(attainment, goodput, weighted_sum, mean_slowdown, p99_slowdown),
    *(mean_ttft, p99_ttft, mean_tpot, p99_tpot, mean_e2e, p99_e2e),
)
_CALLS = {made_by.__name__: f"js.tuning.objectives.{made_by.__name__}(..)" for made_by in _MADE_BY}
_KNOWN = {name: f"js.tuning.objectives.{name}" for name in OBJECTIVES} | _CALLS


def require_objective(objective: Any) -> Any:
    """Return the objective, or raise for its name, or for the function that makes one.

    Example:
      >>> from jaxsched.tuning.objectives.given import require_objective
      >>> require_objective("goodput")
      Traceback (most recent call last):
      jaxsched._lib.errors.InputError: objective is 'goodput'; did you mean js.tuning.objectives...
    """
    if any(objective is made_by for made_by in _MADE_BY):
        call = _CALLS[objective.__name__]
        finding = f"is the function {objective.__name__}, which makes one"
        raise InputError("objective", objective, f"call it: {call}", finding=finding)
    if callable(objective):
        return objective
    near = []
    if isinstance(objective, str):
        near = [objective] if objective in _KNOWN else nearest(objective, _KNOWN)
    if near:
        meant = " or ".join(_KNOWN[name] for name in near)
        raise InputError("objective", objective, f"did you mean {meant}?")
    raise InputError("objective", objective, "expected one of js.tuning.objectives")
