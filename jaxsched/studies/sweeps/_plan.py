"""What a sweep would take, without running it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxsched.studies.sweeps._grid import checked
from jaxsched.studies.sweeps._run import compute
from jaxsched.studies.sweeps._shards import shards

_BYTES_PER_REQUEST = 192  # lengths, schedules and the temporaries of their metrics
_TRIAL_REQUESTS = 2**15


class SweepPlan(NamedTuple):
    """The size of a sweep.

    Attributes:
      num_cells: combinations of workload, requests, capacity, server and rule.
      num_shards: files it writes.
      num_simulations: instances scheduled, over all cells.
      shard_bytes: memory for the largest shard, roughly; what a sweep needs beside the program.
      estimated_s: seconds it takes on this machine's devices, scaled by requests from some
        instances of the first cell with the most of them; compilation is left out.
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
      >>> size = js.sweeps.plan({"workloads": ["chat"], "num_requests": [20],
      ...                         "kv_capacity": [1200, 4800], "rules": ["fcfs"]})
      >>> size.num_cells, size.num_shards, size.num_simulations
      (2, 2, 200)
    """
    full = checked(grid)
    todo = shards(full)
    num_rules = len(full["rules"])
    largest = max(todo, key=lambda shard: shard.work // (shard.end - shard.begin))
    count = largest.end - largest.begin
    requests_each = largest.work // count
    trial = largest._replace(end=largest.begin + min(count, -(-_TRIAL_REQUESTS // requests_each)))
    compute(trial, full)  # compiles
    begin = time.perf_counter()
    compute(trial, full)
    seconds_per_request = (time.perf_counter() - begin) / trial.work
    return SweepPlan(
        num_cells=sum(shard.begin == 0 for shard in todo) * num_rules,
        num_shards=len(todo),
        num_simulations=sum(shard.end - shard.begin for shard in todo) * num_rules,
        shard_bytes=_BYTES_PER_REQUEST * max(shard.work for shard in todo),
        estimated_s=seconds_per_request * sum(shard.work for shard in todo),
    )
