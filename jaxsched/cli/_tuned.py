"""What a tuned rule was tuned on, and a warning where it is used on something else."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jaxsched as js
from jaxsched.cli._options import Backlog

_FILE = "file:"


def described(options: Backlog, inst: js.Instance) -> dict[str, Any]:
    """Describe backlogs in plain values, for the file of a rule tuned on them."""
    import numpy as np

    return {
        "source": options.source,
        "num_requests": _extremes(np.asarray(inst.num_requests)),
        "num_instances": int(np.size(inst.kv_capacity)),
        "kv_capacity": _extremes(np.asarray(inst.kv_capacity)),
    }


def warn_of_other_backlogs(
    rules: Iterable[str], options: Backlog, inst: js.Instance, is_capacity_fixed: bool = True
) -> None:
    """Warn of every rule from a file that was tuned on other lengths, sizes or memory."""
    here = described(options, inst)
    compared = ("source", "num_requests", *(["kv_capacity"] if is_capacity_fixed else []))
    for rule in rules:
        if not rule.startswith(_FILE):
            continue
        there = js.policies.tuned_on(rule.removeprefix(_FILE))
        names = [name for name in compared if name in there]
        if any(there[name] != here[name] for name in names):
            warnings.warn(
                f"{rule} was tuned on {_phrase(there, names)}; here it orders "
                f"{_phrase(here, names)}",
                stacklevel=2,
            )


def _phrase(about: Mapping[str, Any], names: Iterable[str]) -> str:
    units = {"source": "", "num_requests": " requests", "kv_capacity": " KV tokens"}
    return ", ".join(f"{_span(about[name])}{units[name]}" for name in names)


def _span(value: Any) -> str:
    return "..".join(map(str, value)) if isinstance(value, list) else str(value)


def _extremes(values: Any) -> int | list[int]:
    low, high = int(values.min()), int(values.max())
    return low if low == high else [low, high]
