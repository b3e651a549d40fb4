"""What a sweep would take, without running it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxsched.sweeps._grid import checked, shards
from jaxsched.sweeps._run import compute

_BYTES_PER_REQUEST = 64  # lengths, keys, starts and completions, each held twice for a while
_TRIAL_INSTANCES = 4


class SweepPlan(NamedTuple):
    """The size of a sweep.

    Attributes:
      num_cells: combinations of workload, requests, capacity, server and rule.
      num_shards: files it writes.
      num_simulations: instances scheduled, over all cells.
      shard_bytes: memory for the largest shard, roughly.
      estimated_s: seconds it takes, scaled from a few instances of the first cell of most
        requests; compilation is left out.
    """

    num_cells: int
    num_shards: int
    num_simulations: int
    shard_bytes: int
    estimated_s: float


def plan(grid: Mapping[str, Any]) -> SweepPlan:
    """Describe the sweep of ``grid`` and time a few of its instances.

    Args:
      grid: as :func:`jaxsched.run_sweep` takes it.

    Returns:
      The :class:`SweepPlan`.

    Raises:
      ValueError: a setting is unknown, missing or wrong.

    Example:
      >>> import jaxsched as js
      >>> found = js.sweeps.plan({"workloads": ["chat"], "num_requests": [20],
      ...                         "kv_capacity": [1200, 4800], "rules": ["fcfs"]})
      >>> found.num_cells, found.num_shards, found.num_simulations
      (2, 2, 200)
    """
    full = checked(grid)
    todo = shards(full)
    num_rules = len(full["rules"])
    num_cells = sum(shard.begin == 0 for shard in todo) * num_rules
    largest = max(todo, key=lambda shard: shard.num_requests)
    trial = largest._replace(begin=0, end=min(largest.end, _TRIAL_INSTANCES))
    compute(trial, full)  # compiles
    begin = time.perf_counter()
    compute(trial, full)
    seconds_per_request = (time.perf_counter() - begin) / (trial.end * trial.num_requests)
    num_requests = sum((shard.end - shard.begin) * shard.num_requests for shard in todo)
    return SweepPlan(
        num_cells=num_cells,
        num_shards=len(todo),
        num_simulations=num_cells * full["num_instances"],
        shard_bytes=_BYTES_PER_REQUEST
        * max((shard.end - shard.begin) * shard.num_requests for shard in todo),
        estimated_s=seconds_per_request * num_requests,
    )
