"""The settings of a sweep, checked before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax

from jaxsched import policies
from jaxsched._lib.names import hint
from jaxsched.engine.offline.programs import Discipline
from jaxsched.servers.named import PRESETS
from jaxsched.studies.comparing.compare import BOUNDS
from jaxsched.studies.sweeps._shards import OWN_AXES, WORKLOAD_NAMES, Shard, cells, draw, label

Keep = Literal["instances", "moments"]

_AXES = ("workloads", "num_requests", "kv_capacity", "rules", "servers")
_DEFAULTS: dict[str, Any] = {
    "num_instances": 100,
    "seed": 0,
    "bound": "volume",
    "discipline": "strict",
    "keep": "instances",
}


def checked(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what ``grid`` leaves out, in the form that is kept beside the shards."""
    known = (*_AXES, *_DEFAULTS)
    for name in grid:
        if name not in known:
            raise ValueError(f"a sweep has no setting {name!r}; {hint(name, known)}")
    full = _DEFAULTS | {name: [] for name in _AXES} | dict(grid)
    for name in _AXES:
        full[name] = _checked_axis(name, full[name])
    for name in ("workloads", "rules"):
        _require_given(name, grid, full)
    _require_integer("num_instances", full["num_instances"], 1)
    _require_integer("seed", full["seed"], 0)
    _require_names(full)
    for name in ("num_requests", "kv_capacity"):
        if any(name not in OWN_AXES.get(each["name"], ()) for each in full["workloads"]):
            _require_given(name, grid, full)
    if "server" in full["kv_capacity"] and not full["servers"]:
        raise ValueError('the kv_capacity "server" needs servers, to say whose; list some')
    _require_draws(full)
    return json.loads(json.dumps(full))  # as it is read back


def _checked_axis(name: str, values: Any) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name} is {values!r}; expected a list")
    if name in ("workloads", "rules"):
        values = [_named_options(name, place, value) for place, value in enumerate(values)]
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{name}[{place}] is {value!r}, which is there already")
        if name == "num_requests" or (name == "kv_capacity" and value != "server"):
            _require_integer(f"{name}[{place}]", value, 1)
    return list(values)


def _named_options(axis: str, place: int, value: Any) -> dict[str, Any]:
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise ValueError(
            f"{axis}[{place}] is {value!r}; expected a name, or a table with a name and options"
        )
    return dict(options)


def _require_given(name: str, grid: Mapping[str, Any], full: dict[str, Any]) -> None:
    if name not in grid:
        raise ValueError(f"the sweep lacks {name!r}; give a list")
    if not full[name]:
        raise ValueError(f"{name} is {grid[name]!r}; expected a list that is not empty")


def _require_integer(name: str, value: Any, least: int) -> None:
    if type(value) is not int or not least <= value < 2**31:
        raise ValueError(f"{name} is {value!r}; expected an integer from {least} to 2^31 - 1")


def _require_names(grid: dict[str, Any]) -> None:
    for kind, asked, known in (
        *(("workload", options["name"], WORKLOAD_NAMES) for options in grid["workloads"]),
        *(("server", server, PRESETS) for server in grid["servers"]),
        ("bound", grid["bound"], (*BOUNDS, "none")),
        ("discipline", grid["discipline"], get_args(Discipline)),
        ("value of keep", grid["keep"], get_args(Keep)),
    ):
        if asked not in known:
            raise ValueError(f"no {kind} is called {asked!r}; {hint(str(asked), known)}")
    try:
        rules(grid)
    except TypeError as error:  # an option that the rule does not take
        raise ValueError(str(error)) from error


def _require_draws(grid: dict[str, Any]) -> None:
    """Raise now what a workload would reject in a cell that comes last."""
    for place, workload in enumerate(grid["workloads"]):
        try:
            for cell in cells({**grid, "workloads": [workload]}):
                shard = Shard(0, *cell, 0, 1)
                jax.eval_shape(lambda shard=shard: draw(shard, 0))
        except TypeError as error:
            raise ValueError(f"workloads[{place}]: {error}") from error


def rules(grid: dict[str, Any]) -> dict[str, policies.Rule]:
    """Build the rules, by label."""
    return {
        label(options): policies.make(**options)  # an option ``name`` is the rule's
        for options in grid["rules"]
    }
