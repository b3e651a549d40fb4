"""Settings of a server, crossed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxsched._lib.errors import InputError, UnknownName, shown
from jaxsched.model.server import Server, require_numbers, require_server
from jaxsched.studies.serving.rules import require_one

_OF_ANOTHER_KIND = ("clock", "discipline")  # no setting, and one of backlogs alone
SETTINGS = tuple(
    field.name for field in dataclasses.fields(Server) if field.name not in _OF_ANOTHER_KIND
)


def crossed(
    server: Server, vary: Mapping[str, Sequence[Any]] | None
) -> list[tuple[dict[str, Any], Server]]:
    """Every combination of the settings, as they are named and on a server of its own."""
    require_one(require_server(server))
    if not isinstance(vary, Mapping | None):
        expectation = 'expected a dict of lists, such as {"max_num_seqs": [64, 128]}'
        raise InputError("vary", vary, expectation)
    vary = {name: _listed(values) for name, values in (vary or {}).items()}
    for name, values in vary.items():
        if name not in SETTINGS:
            raise UnknownName("setting", name, SETTINGS)
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise InputError(
                "vary",
                values,
                f"expected a list of values of {name}",
                finding=f"holds {shown(values)} for {name}",
            )
        if len(set(values)) < len(values):
            raise InputError("vary", values, f"expected values of {name} that differ")
    combinations = [
        dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())
    ]
    return [(each, require_numbers(dataclasses.replace(server, **each))) for each in combinations]


def _listed(values: Any) -> Any:
    """Take an array of values as a list of numbers."""
    return values.tolist() if np.ndim(values) == 1 and hasattr(values, "tolist") else values
