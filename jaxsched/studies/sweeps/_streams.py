"""Streams of a shard, and the server of its cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxsched import servers
from jaxsched._lib.errors import MAX_INT32
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.model.stack import stack
from jaxsched.studies.sweeps._shards import Cell, Shard, draw, keys
from jaxsched.workloads import traces
from jaxsched.workloads.arrivals import ARRIVALS

RECORDED = "recorded"  # the times of a trace, scaled to the rate
_READ = ("path", "sort", "drop_invalid")
_OF_TIMES = 1  # what else a stream's key is for


def draw_streams(shard: Shard, seed: int) -> Requests:
    """Draw a shard's streams ``[B, n]``.

    Lengths are those of the backlogs of the same seed. Times have a key of their own, the same at
    every rate: where the rate does not change over time, they are the same but for their scale.
    """
    cell = shard.cell
    if cell.arrivals == RECORDED:
        options = {name: cell.workload[name] for name in cell.workload if name in _READ}
        size = {"num_requests": cell.num_requests, "rate": cell.rate}
        one = [traces.load_requests(key=key, **size, **options) for key in keys(shard, seed)]
        return stack(one)
    # Lengths of any capacity: the server refuses what it cannot hold.
    inst = draw(shard._replace(cell=cell._replace(kv_capacity=MAX_INT32)), seed)
    name, options = named(cell.arrivals)
    arrive = ARRIVALS[name]
    times = jax.vmap(jax.random.fold_in, (0, None))(keys(shard, seed), _OF_TIMES)
    return stack([arrive(key, inst[row], cell.rate, **options) for row, key in enumerate(times)])


def named(arrivals: str | Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Part an entry of the axis into the name of a process and its options."""
    if isinstance(arrivals, Mapping):
        options = dict(arrivals)
        return options.pop("name"), options
    return arrivals or "", {}


def server_of(cell: Cell) -> Server:
    """Make the server of a cell: a named one, with the settings of the cell."""
    limits = {
        name: value
        for name in ("max_num_seqs", "max_num_batched_tokens")
        if (value := getattr(cell, name)) is not None
    }
    named = servers.get(cell.server or "")
    settings = cell.settings or {}
    return dataclasses.replace(named, kv_capacity=cell.kv_capacity, **limits, **settings)
