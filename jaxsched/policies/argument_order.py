"""The order of arguments in every verb: the instance first."""

from __future__ import annotations

import warnings
from typing import Any

from jaxsched.model.instance import Instance


def inst_first(verb: str, inst: Any, rule: Any) -> tuple[Any, Any]:
    """Return ``inst, rule``, also if they were given the other way round, as they once were."""
    if not isinstance(rule, Instance) or isinstance(inst, Instance):
        return inst, rule
    warnings.warn(
        f"{verb}(rule, inst) has its arguments in the old order; write {verb}(inst, rule)",
        DeprecationWarning,
        stacklevel=3,
    )
    return rule, inst
