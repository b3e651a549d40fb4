"""The settings of a sweep, checked before anything is computed."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import jax

from jaxsched import policies
from jaxsched._lib.documents import is_number
from jaxsched._lib.errors import (
    MAX_INT32,
    InputError,
    UnknownName,
    bounded,
    choice,
    integer,
    shown,
)
from jaxsched.engine.contract import Discipline
from jaxsched.servers.named import PRESETS
from jaxsched.studies.comparing.compare import BOUNDS
from jaxsched.studies.rates.settings import SETTINGS, checked_settings
from jaxsched.studies.sweeps._shards import (
    MORE_AXES,
    MOST_SHARDS,
    OWN_AXES,
    TRACE,
    WORKLOAD_NAMES,
    Shard,
    cells,
    draw,
    label,
    shards,
)
from jaxsched.studies.sweeps._sources import about_files, is_server_file, sha256
from jaxsched.studies.sweeps._streams import RECORDED, draw_streams, named
from jaxsched.workloads import chat
from jaxsched.workloads.arrivals import ARRIVALS

Keep = Literal["instances", "moments"]

_AXES = ("workloads", "num_requests", "kv_capacity", "rules", "servers", *MORE_AXES)
_NO_AXES: dict[str, Any] = {name: [] for name in _AXES} | {"settings": {}}
_TARGETS = ("ttft_slo_s", "tpot_slo_s", "e2e_slo_s")
_OF_STREAMS = ("arrivals", "max_num_batched_tokens", "settings", *_TARGETS)
_OF_BACKLOGS = ("bound", "discipline")
_LONGEST_REASON = 300
_DEFAULTS: dict[str, Any] = {
    "num_instances": 100,
    "seed": 0,
    "bound": "volume",
    "discipline": "strict",
    "keep": "instances",
}


def checked(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what ``grid`` leaves out, in the form that is kept beside the shards."""
    known = (*_AXES, *_DEFAULTS, *_TARGETS)
    for name in grid:
        if name not in known:
            raise UnknownName("setting of a sweep", name, known)
    if grid.get("rates") and "settings" in grid:
        grid = _with_settings(grid)
    full: dict[str, Any] = _DEFAULTS | _NO_AXES | dict(grid)
    if full["rates"]:
        full = {"kv_capacity": ["server"], "arrivals": ["poisson"]} | dict(grid)
        full = _DEFAULTS | _NO_AXES | full
    for name in _AXES:
        if name != "settings":
            full[name] = _checked_axis(name, full[name])
    for name in ("workloads", "rules"):
        _require_given(name, grid, full)
    full["num_instances"] = integer("num_instances", full["num_instances"], 1, MAX_INT32)
    full["seed"] = integer("seed", full["seed"], 0, MAX_INT32)
    _require_names(full)
    full["files"] = about_files(full)
    _require_streams(grid, full)
    for name in ("num_requests", "kv_capacity"):
        if name == "kv_capacity" and full["rates"]:
            continue
        if any(name not in OWN_AXES.get(each["name"], ()) for each in full["workloads"]):
            _require_given(name, grid, full)
    if "server" in full["kv_capacity"] and not full["servers"]:
        raise ValueError('the kv_capacity "server" needs servers, to say whose; list some')
    for server in filter(is_server_file, full["servers"]):
        if "server" in full["kv_capacity"] and "kv_capacity" not in full["files"][server]:
            raise ValueError(
                f"{server}: says no KV capacity; give numbers in kv_capacity, or --capacity N to "
                "calibrate"
            )
    _require_size(full)
    _require_draws(full)
    shards(full)  # not too many
    # What is not there leaves no trace: folders of earlier grids stay what they were.
    optional = (*MORE_AXES, "files")
    full = {name: value for name, value in full.items() if value or name not in optional}
    return json.loads(json.dumps(full))  # as it is read back


def _with_settings(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings; those that are axes of their own become that."""
    settings = checked_settings("settings", grid["settings"])
    own = {name: settings.pop(name) for name in _AXES if name in settings}
    for name in own:
        if name in grid:
            finding = f"holds {name}, which the sweep lists too"
            raise InputError("settings", grid["settings"], "leave out one of them", (), finding)
    # In one order, since tables that are equal may differ in theirs.
    settings = {name: settings[name] for name in SETTINGS if name in settings}
    for name, values in settings.items():
        if any(isinstance(value, float) for value in values):
            settings[name] = [float(value) for value in values]  # one kind a column
        for place, value in enumerate(values):
            _as_json(name, place, value)
    return {**grid, **own, "settings": settings}


def _checked_axis(name: str, values: Any) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise InputError(name, values, "expected a list")
    if name in ("workloads", "rules"):
        values = [_named_options(name, place, value) for place, value in enumerate(values)]
    if name == "arrivals":
        values = [_checked_arrivals(place, value) for place, value in enumerate(values)]
    if name == "rates":
        values = [_checked_rate(place, value) for place, value in enumerate(values)]
    if name in ("num_requests", "kv_capacity", "max_num_seqs", "max_num_batched_tokens"):
        values = [_checked_count(name, place, value) for place, value in enumerate(values)]
    before: set[str] = set()
    for place, value in enumerate(values):
        if (text := _as_json(name, place, value)) in before:
            finding = f"is {shown(value)}, which is there already"
            raise InputError(name, value, "", (place,), finding)
        before.add(text)
    return list(values)


def _as_json(name: str, place: int, value: Any) -> str:
    """Write a value as a sweep's manifest keeps it."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        expectation = "expected names, numbers and lists of them, as JSON can hold"
        raise InputError(name, value, expectation, (place,)) from error


def _checked_count(name: str, place: int, value: Any) -> int | str:
    if name == "kv_capacity" and value == "server":
        return value
    return integer(name, value, 1, MAX_INT32, position=(place,))


def _named_options(axis: str, place: int, value: Any) -> dict[str, Any]:
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        expectation = "expected a name, or a table with a name and options"
        raise InputError(axis, value, expectation, (place,))
    if axis == "workloads" and options["name"] == TRACE:
        if not isinstance(options.get("path"), str):
            raise InputError(axis, value, "expected the path of a trace too", (place,))
        # A sweep that goes on must not mix another file with what is there.
        return {**options, "sha256": sha256(options["path"])}
    return dict(options)


def _checked_arrivals(place: int, value: Any) -> str | dict[str, Any]:
    """Take a process by name, or with options; try it on two requests, without drawing them."""
    options = _named_options("arrivals", place, value)
    name, rest = named(options)
    if name == RECORDED and not rest:
        return name
    if name not in ARRIVALS:
        raise UnknownName("arrival process", name, (*ARRIVALS, RECORDED))
    try:
        key = jax.random.key(0)
        jax.eval_shape(lambda: ARRIVALS[name](key, chat(key, 2), 1.0, **rest))
    except (TypeError, ValueError) as error:
        raise ValueError(f"arrivals[{place}], {name}: {error}") from error
    return options if rest else name


def _checked_rate(place: int, value: Any) -> float:
    if not (is_number(value) and value > 0):
        raise InputError("rates", value, "expected requests a second > 0", (place,))
    return float(value)


def _require_streams(grid: Mapping[str, Any], full: dict[str, Any]) -> None:
    """Raise where settings of streams and of backlogs are mixed."""
    if not full["rates"]:
        for name in _OF_STREAMS:
            if name in grid:
                raise InputError(name, grid[name], "give rates, or leave it out")
        return
    for name in _OF_BACKLOGS:
        if name in grid:
            raise InputError(name, grid[name], "leave it out, or the rates")
    if not full["servers"]:
        raise ValueError("the sweep lacks 'servers', which serve the streams of its rates")
    for place, workload in enumerate(full["workloads"]):
        if workload["name"] in OWN_AXES:
            expectation = "expected a workload whose requests can arrive over time"
            raise InputError("workloads", workload["name"], expectation, (place,))
        if RECORDED in full["arrivals"] and workload["name"] != TRACE:
            raise InputError("arrivals", RECORDED, "expected it for traces alone")
    for name in _TARGETS:
        seconds = full.get(name)
        if seconds is not None and not (is_number(seconds) and seconds > 0):
            raise InputError(name, seconds, "expected seconds > 0")


def _require_given(name: str, grid: Mapping[str, Any], full: dict[str, Any]) -> None:
    if name not in grid:
        raise ValueError(f"the sweep lacks {name!r}; give a list")
    if not full[name]:
        raise InputError(name, grid[name], "expected a list that is not empty")


def _require_names(grid: dict[str, Any]) -> None:
    for options in grid["workloads"]:
        if options["name"] not in WORKLOAD_NAMES:
            raise UnknownName("workload", options["name"], WORKLOAD_NAMES)
    for server in grid["servers"]:
        if not is_server_file(server):
            PRESETS.require(server)
    if grid["bound"] not in (*BOUNDS, "none"):
        raise UnknownName("bound", grid["bound"], (*BOUNDS, "none"))
    choice("discipline", grid["discipline"], get_args(Discipline))
    choice("keep", grid["keep"], get_args(Keep))
    for place, options in enumerate(grid["rules"]):
        with _entry("rules", place):
            policies.make(**options)


def _require_size(grid: dict[str, Any]) -> None:
    """Raise where cells are more than a folder should hold files."""
    axes = [*(grid[name] for name in _AXES if name != "settings"), *grid["settings"].values()]
    num_cells = math.prod(len(values) or 1 for values in axes)
    if num_cells > MOST_SHARDS:
        raise ValueError(f"the sweep has {num_cells} cells; expected at most {MOST_SHARDS}")


@contextlib.contextmanager
def _entry(axis: str, place: int) -> Iterator[None]:
    """Say which entry of the grid it is that nothing can be made of."""
    try:
        yield
    except OSError:  # which names its file
        raise
    except Exception as error:  # a rule or a workload given wrong options can raise anything
        kind = "" if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: "
        raise ValueError(
            f"{axis}[{place}]: {kind}{bounded(str(error), _LONGEST_REASON)}"
        ) from error


def _require_draws(grid: dict[str, Any]) -> None:
    """Raise now what a workload would reject in a cell that comes last."""
    for place, workload in enumerate(grid["workloads"]):
        with _entry("workloads", place):
            for cell in cells({**grid, "workloads": [workload]}):
                shard = Shard(0, cell, 0, 1)
                if workload["name"] == TRACE:
                    (draw if cell.rate is None else draw_streams)(shard, 0)
                    continue
                if cell.rate is not None:  # a server refuses what it cannot hold
                    shard = Shard(0, cell._replace(kv_capacity=MAX_INT32), 0, 1)
                jax.eval_shape(lambda shard=shard: draw(shard, 0))


def rules(grid: dict[str, Any]) -> dict[str, policies.Rule]:
    """Build the rules, by label."""
    return {
        label(options): policies.make(**options)  # an option ``name`` is the rule's
        for options in grid["rules"]
    }
