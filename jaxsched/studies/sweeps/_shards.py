"""The cells of a checked grid, the shards they are cut into, and the instances of a shard."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsched import workloads
from jaxsched._lib.chunks import REQUESTS_PER_SHARD
from jaxsched.model.instance import Instance
from jaxsched.servers.named import PRESET_KV_CAPACITY

#: Workloads that settle some of the axes themselves.
OWN_AXES = {"uniform": ("num_requests", "kv_capacity"), "worst_case": ("num_requests",)}
WORKLOAD_NAMES = (*workloads.WORKLOADS, *OWN_AXES)
DRAWN = 0  # what stands for a number that every instance of ``uniform`` draws for itself
_MOST_DRAWN = 60

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

    @property
    def work(self) -> int:
        """Requests, at most, over all its instances."""
        return (self.end - self.begin) * (self.num_requests or _MOST_DRAWN)


def shards(grid: dict[str, Any]) -> list[Shard]:
    """Cut every cell's instances into blocks of a bounded number of requests."""
    blocks: list[Shard] = []
    for workload, n, kv_capacity, server in cells(grid):
        count = 1 if workload["name"] == "worst_case" else grid["num_instances"]
        size = max(1, REQUESTS_PER_SHARD // (n or _MOST_DRAWN))
        for begin in range(0, count, size):
            end = min(begin + size, count)
            blocks.append(Shard(len(blocks), workload, n, kv_capacity, server, begin, end))
    return blocks


def cells(grid: dict[str, Any]) -> Iterator[tuple[Options, int, int, str | None]]:
    """Workload, requests, capacity and server of each cell, none of them twice."""
    for workload in grid["workloads"]:
        own = OWN_AXES.get(workload["name"], ())
        servers: list[Any] = grid["servers"] or [None]
        distinct = {}
        for n, kv_capacity, server in itertools.product(
            [DRAWN] if "num_requests" in own else grid["num_requests"],
            [DRAWN] if "kv_capacity" in own else grid["kv_capacity"],
            servers,
        ):
            tokens = PRESET_KV_CAPACITY[server] if kv_capacity == "server" else kv_capacity
            distinct[_num_requests(workload, n, tokens), tokens, server] = None
        for cell in distinct:
            yield workload, *cell


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
    name, options = shard.workload["name"], _options(shard.workload)
    if name == "worst_case":
        one = workloads.worst_case(capacity=shard.kv_capacity, **options)
        return jax.tree.map(lambda leaf: leaf[None], one)

    def one_instance(key: jax.Array) -> Instance:
        if name == "uniform":
            return workloads.uniform(key, None, None, **options)
        size = shard.num_requests, None, shard.kv_capacity
        return workloads.WORKLOADS[name](key, *size, **options)

    numbers = jnp.arange(shard.begin, shard.end)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)
    return jax.vmap(one_instance)(keys)


def _options(workload: Options) -> dict[str, Any]:
    return {name: value for name, value in workload.items() if name != "name"}


def label(options: Options) -> str:
    """Write a name with its options.

    Example:
      >>> from jaxsched.studies.sweeps._shards import label
      >>> label({"name": "fcfs"}), label({"name": "sorted_f", "selector": "local_swap"})
      ('fcfs', 'sorted_f(selector=local_swap)')
    """
    given = ", ".join(f"{name}={value}" for name, value in _options(options).items())
    return f"{options['name']}({given})" if given else options["name"]
