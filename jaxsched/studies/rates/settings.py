"""Settings of a server, checked and crossed."""

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
_ANY_SERVER = Server(kv_capacity=1)
_ONE = (bool, int, float, str, np.generic, type(None))


def crossed(
    server: Server, vary: Mapping[str, Sequence[Any]] | None
) -> list[tuple[dict[str, Any], Server]]:
    """Every combination of the settings, as they are named and on a server of its own."""
    require_one(require_server(server))
    settings = combinations({} if vary is None else checked_settings("vary", vary))
    return [(each, require_numbers(dataclasses.replace(server, **each))) for each in settings]


def checked_settings(argument: str, given: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the values of each setting, or raise for one that no server can have."""
    if not isinstance(given, Mapping):
        expectation = 'expected a dict of lists, such as {"max_num_seqs": [64, 128]}'
        raise InputError(argument, given, expectation)
    return {name: _checked(argument, name, _listed(values)) for name, values in given.items()}


def combinations(settings: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of settings; one of none where there are none."""
    values = itertools.product(*settings.values())
    return [dict(zip(settings, each, strict=True)) for each in values]


def _listed(values: Any) -> Any:
    """Take an array of values as a list of numbers."""
    return values.tolist() if hasattr(values, "tolist") and np.ndim(values) == 1 else values


def _checked(argument: str, name: str, values: Any) -> list[Any]:
    if name not in SETTINGS:
        raise UnknownName("setting", name, SETTINGS)
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        finding = f"holds {shown(values)} for {name}"
        raise InputError(argument, values, f"expected a list of values of {name}", finding=finding)
    for place, value in enumerate(values):
        if not isinstance(value, _ONE):
            raise InputError(name, value, "expected one number or word", (place,))
        try:  # on any server: the range of a setting is the same beside all others
            require_numbers(dataclasses.replace(_ANY_SERVER, **{name: value}))
        except InputError as error:
            raise InputError(name, value, error.expectation, (place,)) from error
    if len(set(values)) < len(values):
        raise InputError(argument, values, f"expected values of {name} that differ")
    return list(values)
