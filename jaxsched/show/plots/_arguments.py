"""What pictures are given: an instance, and one schedule or several by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule

Schedules = Schedule | Outcome | Mapping[str, Schedule | Outcome]


def named(schedules: Schedules | None) -> Mapping[str, Schedule | Outcome]:
    """Schedules by name; a single one has none, and so no place in a legend."""
    if isinstance(schedules, Mapping):
        return schedules
    if schedules is None:
        raise InputError("schedules", schedules, "expected a schedule, or several by name")
    return {"": schedules}


def require_one(inst: Instance) -> None:
    """Raise if there are several instances."""
    if np.ndim(inst.kv_capacity):
        finding = f"holds {np.size(inst.kv_capacity)} instances"
        raise InputError("inst", inst, "expected one, such as inst[0]", finding=finding)


def warn_of_old_form(old: str, new: str) -> None:
    """Tell the caller of a picture what to write instead."""
    warnings.warn(f"plots.{old} is deprecated; use plots.{new}", DeprecationWarning, stacklevel=3)
