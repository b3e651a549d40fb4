"""Computing a sweep shard by shard, where it was left."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched import clock, policies
from jaxsched._compare import compare
from jaxsched._progress import progress_bar
from jaxsched.sweeps import _files
from jaxsched.sweeps._grid import Shard, checked, draw, label, rules, shards


def run_sweep(
    grid: Mapping[str, Any], out_dir: str | os.PathLike[str], *, progress: bool | None = None
) -> Path:
    """Run every rule on every cell of a grid and keep one row for each instance.

    A cell is a workload, a number of requests, a KV capacity and a server. Its instances are cut
    into shards of at most 2^18 requests; each is compared on all local devices and written to a
    Parquet file of its own, whole or not at all. Started again, in whatever state it was
    stopped, a sweep computes the shards that are missing, and the table is the same. One process
    at a time may write to a folder.

    Args:
      grid: a dict (or the content of a TOML file) with the lists ``workloads``, ``num_requests``,
        ``kv_capacity`` (tokens) and ``rules``, and if wanted ``servers`` (presets that add
        seconds), ``num_instances`` (100), ``seed`` (0), ``bound`` ("volume") and ``discipline``
        ("strict"). A workload or rule is a name, or a dict of ``name`` and its options.
      out_dir: folder for the shards and their ``manifest.json``; made where there is none.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      The folder, for :func:`load_sweep`.

    Raises:
      ValueError: a setting is unknown, missing or wrong, or the folder holds a sweep of another
        grid (the difference is named).
      ImportError: pyarrow is not installed.

    Example:
      >>> import tempfile
      >>> import jaxsched as js
      >>> grid = {"workloads": ["chat"], "num_requests": [20], "kv_capacity": [1200, 4800],
      ...         "rules": ["fcfs", "smallest_volume"], "num_instances": 3}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     table = js.load_sweep(js.run_sweep(grid, folder))
      >>> table.shape[0], bool((table["gap"] >= 0).all())
      (12, True)
    """
    _files.require_extra()
    grid, folder = checked(grid), Path(out_dir)
    todo = shards(grid)
    _files.open_folder(folder, grid)
    with progress_bar(len(todo), "shards", progress) as bar:
        for shard in todo:
            if _files.missing(folder, [shard]):
                begin = time.perf_counter()
                columns = compute(shard, grid)
                _files.write_shard(folder, shard, columns, time.perf_counter() - begin)
            bar.update()
    _files.finish(folder, todo)
    return folder


def compute(shard: Shard, grid: dict[str, Any]) -> dict[str, Any]:
    """Compare all rules on a shard; columns of one row for each rule and instance."""
    named: dict[str, policies.Rule] = rules(grid)
    found = compare(
        draw(shard, grid["seed"]),
        named,
        bound=None if grid["bound"] == "none" else grid["bound"],
        clock=None if shard.server is None else clock.PRESETS[shard.server],
        discipline=grid["discipline"],
        progress=False,
    )
    count = shard.end - shard.begin
    total = count * len(named)
    columns: dict[str, Any] = {
        "workload": [label(shard.workload)] * total,
        "num_requests": np.full(total, shard.num_requests),
        "kv_capacity": np.full(total, shard.kv_capacity),
    }
    if shard.server is not None:
        columns["server"] = [shard.server] * total
    columns["rule"] = [name for name in named for _ in range(count)]
    columns["instance"] = np.tile(np.arange(shard.begin, shard.end), len(named))
    for metric in found.metrics[found.rules[0]]:
        columns[metric] = np.concatenate([found.metrics[name][metric] for name in named])
    return columns
