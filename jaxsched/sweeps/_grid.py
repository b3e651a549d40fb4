"""What a sweep runs: a checked grid, and the shards it is cut into."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxsched import clock, policies, workloads
from jaxsched._compare import BOUNDS
from jaxsched._names import hint
from jaxsched._programs import Discipline
from jaxsched.instance import Instance

_AXES = ("workloads", "num_requests", "kv_capacity", "rules")
_DEFAULTS: dict[str, Any] = {
    "servers": [],
    "num_instances": 100,
    "seed": 0,
    "bound": "volume",
    "discipline": "strict",
}
_REQUESTS_PER_SHARD = 2**18  # seconds of work, tens of MB

Options = Mapping[str, Any]


class Shard(NamedTuple):
    """Instances ``begin .. end - 1`` of one cell, for all rules."""

    number: int
    workload: Options
    num_requests: int
    kv_capacity: int
    server: str | None
    begin: int
    end: int

    @property
    def file_name(self) -> str:
        """Where its rows are kept."""
        return f"shard-{self.number:06d}.parquet"


def checked(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what ``grid`` leaves out, in the form that is kept beside the shards."""
    known = (*_AXES, *_DEFAULTS)
    for name in grid:
        if name not in known:
            raise ValueError(f"a sweep has no setting {name!r}; {hint(name, known)}")
    for name in _AXES:
        if name not in grid:
            raise ValueError(f"the sweep lacks {name!r}; give a list")
    full = {**_DEFAULTS, **grid}
    for name in (*_AXES, "servers"):
        values = full[name]
        if not isinstance(values, list | tuple) or not (values or name == "servers"):
            raise ValueError(f"{name} is {values!r}; expected a list that is not empty")
        if name in ("workloads", "rules"):
            values = [_named_options(name, place, value) for place, value in enumerate(values)]
        for place, value in enumerate(values):
            if value in values[:place]:
                raise ValueError(f"{name}[{place}] is {value!r}, which is there already")
        full[name] = list(values)
    for name in ("num_requests", "kv_capacity"):
        for place, value in enumerate(full[name]):
            _require_integer(f"{name}[{place}]", value, 1)
    _require_integer("num_instances", full["num_instances"], 1)
    _require_integer("seed", full["seed"], 0)
    _require_names(full)
    _require_draws(full)
    return json.loads(json.dumps(full))  # lists for tuples, as it is read back


def _named_options(axis: str, place: int, value: Any) -> dict[str, Any]:
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise ValueError(
            f"{axis}[{place}] is {value!r}; expected a name, or a table with a name and options"
        )
    return dict(options)


def _require_integer(name: str, value: Any, least: int) -> None:
    if type(value) is not int or not least <= value < 2**31:
        raise ValueError(f"{name} is {value!r}; expected an integer from {least} to 2^31 - 1")


def _require_names(grid: dict[str, Any]) -> None:
    known = workloads.WORKLOADS
    for options in grid["workloads"]:
        if options["name"] not in known:
            name = options["name"]
            raise ValueError(f"no workload is called {name!r}; {hint(name, known)}")
    for kind, asked, known in (
        *(("server", server, clock.PRESETS) for server in grid["servers"]),
        ("bound", grid["bound"], (*BOUNDS, "none")),
        ("discipline", grid["discipline"], get_args(Discipline)),
    ):
        if asked not in known:
            raise ValueError(f"no {kind} is called {asked!r}; {hint(str(asked), known)}")
    try:
        rules(grid)
    except TypeError as error:  # an option that the rule does not take
        raise ValueError(str(error)) from error


def _require_draws(grid: dict[str, Any]) -> None:
    """Raise now what a workload would reject in a cell that comes last."""
    cells = itertools.product(
        enumerate(grid["workloads"]), grid["num_requests"], grid["kv_capacity"]
    )
    for (place, workload), n, kv_capacity in cells:
        shard = Shard(0, workload, n, kv_capacity, None, 0, 1)
        try:
            jax.eval_shape(lambda shard=shard: draw(shard, 0))
        except TypeError as error:
            raise ValueError(f"workloads[{place}]: {error}") from error


def rules(grid: dict[str, Any]) -> dict[str, policies.Rule]:
    """Build the rules, by label."""
    return {
        label(options): policies.make(**options)  # an option ``name`` is the rule's
        for options in grid["rules"]
    }


def label(options: Options) -> str:
    """Write a name with its options.

    Example:
      >>> from jaxsched.sweeps._grid import label
      >>> label({"name": "fcfs"}), label({"name": "sorted_f", "selector": "local_swap"})
      ('fcfs', 'sorted_f(selector=local_swap)')
    """
    given = ", ".join(f"{name}={value}" for name, value in options.items() if name != "name")
    return f"{options['name']}({given})" if given else options["name"]


def shards(grid: dict[str, Any]) -> list[Shard]:
    """Cut every cell's instances into blocks of a bounded number of requests."""
    cells = itertools.product(
        grid["workloads"], grid["num_requests"], grid["kv_capacity"], grid["servers"] or [None]
    )
    count, found = grid["num_instances"], []
    for workload, n, kv_capacity, server in cells:
        size = max(1, _REQUESTS_PER_SHARD // n)
        for begin in range(0, count, size):
            end = min(begin + size, count)
            found.append(Shard(len(found), workload, n, kv_capacity, server, begin, end))
    return found


def draw(shard: Shard, seed: int) -> Instance:
    """Draw a shard's instances ``[B, n]``.

    Each has a key of its own, the seed's folded with its number, so that its lengths depend
    neither on the shard that it falls into nor on the capacity or server it runs on.
    """
    options = {name: value for name, value in shard.workload.items() if name != "name"}
    workload: Callable[..., Instance] = workloads.WORKLOADS[shard.workload["name"]]
    numbers = jnp.arange(shard.begin, shard.end)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)
    return jax.vmap(
        lambda key: workload(key, shard.num_requests, None, shard.kv_capacity, **options)
    )(keys)
