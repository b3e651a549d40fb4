"""The cells of a checked grid, the shards they are cut into, and the instances of a shard."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsched import workloads
from jaxsched._lib.chunks import REQUESTS_PER_SHARD
from jaxsched._lib.errors import InputError
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.studies.rates.settings import combinations
from jaxsched.studies.sweeps._sources import kv_capacity_of
from jaxsched.workloads import traces

#: Axes that a grid may have beside those of every backlog; all but the first are of streams.
MORE_AXES = ("max_num_seqs", "max_num_batched_tokens", "settings", "arrivals", "rates")
#: Workloads that settle some of the axes themselves.
OWN_AXES = {"uniform": ("num_requests", "kv_capacity"), "worst_case": ("num_requests",)}
TRACE = "trace"  # recorded lengths, of the option ``path``
WORKLOAD_NAMES = (*workloads.WORKLOADS, *OWN_AXES, TRACE)
DRAWN = 0  # what stands for a number that every instance of ``uniform`` draws for itself
_MOST_DRAWN = 60
MOST_SHARDS = 2**20  # files in a folder

Options = Mapping[str, Any]


class Cell(NamedTuple):
    """One combination of everything but the rule; None where the grid has no such axis."""

    workload: Options
    num_requests: int
    kv_capacity: int
    server: str | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    settings: Options | None = None
    arrivals: str | Options | None = None
    rate: float | None = None

    def columns(self) -> dict[str, Any]:
        """Its place in the table, by the names of the axes."""
        named: dict[str, Any] = {}
        for name, value in self._asdict().items():
            if name == "settings":
                named |= value or {}
            elif value is not None:
                named[name] = value
        if isinstance(self.arrivals, Mapping):
            named["arrivals"] = label(self.arrivals)
        return {**named, "workload": label(self.workload)}


class Shard(NamedTuple):
    """Instances or streams ``begin .. end - 1`` of one cell, for all rules."""

    number: int
    cell: Cell
    begin: int
    end: int

    @property
    def file_name(self) -> str:
        """Where its rows are kept."""
        return f"shard-{self.number:06d}.parquet"

    @property
    def work(self) -> int:
        """Requests, at most, over all its instances."""
        return (self.end - self.begin) * (self.cell.num_requests or _MOST_DRAWN)


def shards(grid: dict[str, Any]) -> list[Shard]:
    """Cut every cell's instances into blocks of a bounded number of requests."""
    blocks: list[Shard] = []
    for cell in cells(grid):
        count = 1 if cell.workload["name"] == "worst_case" else grid["num_instances"]
        size = max(1, REQUESTS_PER_SHARD // (cell.num_requests or _MOST_DRAWN))
        if len(blocks) + -(-count // size) > MOST_SHARDS:
            expectation = f"expected fewer, for the sweep to have at most {MOST_SHARDS} shards"
            raise InputError("num_instances", count, expectation)
        for begin in range(0, count, size):
            end = min(begin + size, count)
            blocks.append(Shard(len(blocks), cell, begin, end))
    return blocks


def axes(grid: dict[str, Any]) -> list[str]:
    """Names of the axes that a table of this grid has, the rule last."""
    called = {"servers": ["server"], "rates": ["rate"], "settings": list(grid.get("settings", {}))}
    there = [name for name in ("servers", *MORE_AXES) if grid.get(name)]
    names = [name for axis in there for name in called.get(axis, [axis])]
    return ["workload", "num_requests", "kv_capacity", *names, "rule"]


def cells(grid: dict[str, Any]) -> Iterator[Cell]:
    """Every combination but of rules, none of them twice."""
    for workload in grid["workloads"]:
        own = OWN_AXES.get(workload["name"], ())
        distinct: dict[str, tuple[Any, ...]] = {}
        values: list[list[Any]] = [
            [DRAWN] if "num_requests" in own else grid["num_requests"],
            [DRAWN] if "kv_capacity" in own else grid["kv_capacity"],
            grid["servers"] or [None],
            *(_values(grid, name) for name in MORE_AXES),
        ]
        for n, kv_capacity, server, *more in itertools.product(*values):
            tokens = kv_capacity_of(server, grid) if kv_capacity == "server" else kv_capacity
            place = _num_requests(workload, n, tokens), tokens, server, *more
            distinct[repr(place)] = place  # options have no hash
        for place in distinct.values():
            yield Cell(workload, *place)


def _values(grid: dict[str, Any], axis: str) -> list[Any]:
    """List what an axis takes a cell through: None alone where the grid has no such axis."""
    values = grid.get(axis) or [None]
    return combinations(values) if isinstance(values, Mapping) else values


def _num_requests(workload: Options, n: int, kv_capacity: int) -> int:
    """Count the requests of an instance, where a workload and a capacity settle them."""
    if workload["name"] != "worst_case":
        return n
    inst = workloads.worst_case(capacity=kv_capacity, **_options(workload))
    return inst.prompt_tokens.shape[-1]


def draw(shard: Shard, seed: int) -> Instance:
    """Draw a shard's instances ``[B, n]``.

    Each has a key of its own, the seed's folded with its number, so that its lengths depend
    neither on the shard that it falls into nor on the capacity or server it runs on.
    """
    cell = shard.cell
    name, options = cell.workload["name"], _options(cell.workload)
    if name == "worst_case":
        one = workloads.worst_case(capacity=cell.kv_capacity, **options)
        return jax.tree.map(lambda leaf: leaf[None], one)
    if name == TRACE:
        size = {"kv_capacity": cell.kv_capacity, "num_requests": cell.num_requests}
        return stack([traces.load(key=key, **size, **options) for key in keys(shard, seed)])

    def one_instance(key: jax.Array) -> Instance:
        if name == "uniform":
            return workloads.uniform(key, None, None, **options)
        size = cell.num_requests, None, cell.kv_capacity
        return workloads.WORKLOADS[name](key, *size, **options)

    return jax.vmap(one_instance)(keys(shard, seed))


def keys(shard: Shard, seed: int) -> jax.Array:
    """Keys of the instances of a shard, each by its number in the cell."""
    numbers = jnp.arange(shard.begin, shard.end)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)


def _options(workload: Options) -> dict[str, Any]:
    return {name: value for name, value in workload.items() if name not in ("name", "sha256")}


def label(options: Options) -> str:
    """Write a name with its options.

    Example:
      >>> from jaxsched.studies.sweeps._shards import label
      >>> label({"name": "fcfs"}), label({"name": "sorted_f", "selector": "local_swap"})
      ('fcfs', 'sorted_f(selector=local_swap)')
    """
    given = ", ".join(f"{name}={value}" for name, value in _options(options).items())
    return f"{options['name']}({given})" if given else options["name"]
