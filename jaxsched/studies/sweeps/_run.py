"""Computing a sweep shard by shard, where it was left."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsched import policies, servers
from jaxsched._lib.progress import progress_bar
from jaxsched.studies.comparing.compare import compare
from jaxsched.studies.sweeps import _files
from jaxsched.studies.sweeps._grid import checked, rules
from jaxsched.studies.sweeps._moments import moments
from jaxsched.studies.sweeps._shards import Shard, draw, shards
from jaxsched.studies.sweeps._sources import require_unchanged
from jaxsched.studies.sweeps._streams import draw_streams, server_of


def run_sweep(
    grid: Mapping[str, Any], out_dir: str | os.PathLike[str], *, progress: bool | None = None
) -> Path:
    """Run every rule on every cell of a grid; keep one row for each instance, or moments.

    A cell is a workload, a number of requests, a KV capacity and a server. Its instances are cut
    into shards of at most 2^18 requests; each is compared on all local devices and written to a
    Parquet file of its own, whole or not at all. Started again, in whatever state it was
    stopped, a sweep computes the shards that are missing, and the table is the same. Memory is
    that of one shard, however many instances there are.

    Where ``jax.distributed`` is initialized, process ``k`` of ``P`` takes every ``P``-th shard
    from the ``k``-th on, into a folder that all share. None waits for another: the sweep is
    finished when all shards are there, which :func:`load_sweep` makes sure of.

    Args:
      grid: a dict (or the content of a TOML file) with the lists ``workloads``, ``num_requests``,
        ``kv_capacity`` (tokens, or "server": what each of the servers holds) and ``rules``, and if
        wanted ``servers`` (which add seconds: names, or paths that end in ``.json`` as
        :func:`jaxsched.servers.get` takes them), ``num_instances`` (100), ``seed`` (0),
        ``bound`` ("volume"), ``discipline`` ("strict") and ``keep`` ("instances", or "moments").
        A workload or rule is a name, or a dict of ``name`` and its options. The workload
        ``trace`` has the option ``path``, a file of recorded lengths. The list ``max_num_seqs``
        is another axis. With the list ``rates`` of requests a second, streams are served
        instead, on ``servers`` of :mod:`jaxsched.servers`; then there may be the lists
        ``arrivals`` (processes of :data:`jaxsched.workloads.arrivals.ARRIVALS`, each a name or a
        dict of ``name`` and its options; of traces also ``recorded``) and
        ``max_num_batched_tokens``, the dict ``settings`` with lists of values of any other fields
        of :class:`jaxsched.Server` to cross, the numbers ``ttft_slo_s``, ``tpot_slo_s`` and
        ``e2e_slo_s``, and no ``bound`` or ``discipline``; ``kv_capacity`` is "server" unless
        given. ``worst_case``, which needs the option ``rule``, settles its requests itself and is
        one instance; ``uniform`` draws requests and capacity. Paths are relative to the working
        directory.
      out_dir: folder for the shards and their ``manifest.json``; made where there is none.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      The folder, for :func:`load_sweep`.

    Raises:
      ValueError: a setting is unknown, missing or wrong, or the folder holds a sweep of another
        grid, of other content of its files, other versions of jaxsched, jax or numpy, or another
        kind of device (the difference is named).
      OSError: a file that the grid names cannot be read.
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
    all_shards = shards(grid)
    share = all_shards[jax.process_index() :: jax.process_count()]
    _files.open_folder(folder, grid)
    todo = _files.missing(folder, share)
    num_rules, num_done = len(grid["rules"]), 0
    with progress_bar(sum(shard.work for shard in todo), "requests", progress) as bar:
        begin = time.perf_counter()
        for number, shard in enumerate(todo):
            shard_begin = time.perf_counter()
            if _files.missing(folder, [shard]):
                rows = compute(shard, grid)
                require_unchanged(grid)  # each shard reads its files anew
                _files.write_shard(folder, shard, rows, time.perf_counter() - shard_begin)
            num_done += (shard.end - shard.begin) * num_rules
            rate = num_done / (time.perf_counter() - begin)
            bar.set_description(
                f"shard {number + 1} of {len(todo)}, {rate:,.0f} simulations/s ", refresh=False
            )
            bar.update(shard.work)
    if not _files.missing(folder, all_shards):
        _files.finish(folder, all_shards)
    return folder


def compute(shard: Shard, grid: dict[str, Any]) -> dict[str, Any]:
    """Compare all rules on a shard; columns of one row for each rule and instance, or rule."""
    named: dict[str, policies.Rule] = rules(grid)
    cell = shard.cell
    if cell.rate is not None:
        of_rule = compare(
            draw_streams(shard, grid["seed"]),
            named,
            server=server_of(cell),
            ttft_slo_s=grid.get("ttft_slo_s"),
            tpot_slo_s=grid.get("tpot_slo_s"),
            e2e_slo_s=grid.get("e2e_slo_s"),
            progress=False,
        ).metrics
    else:
        of_rule = compare(
            draw(shard, grid["seed"]),
            named,
            bound=None if grid["bound"] == "none" else grid["bound"],
            clock=None if cell.server is None else servers.get(cell.server).clock,
            discipline=grid["discipline"],
            max_num_seqs=cell.max_num_seqs,
            progress=False,
        ).metrics
    if grid["keep"] == "moments":
        kept = [moments(of_rule[name]) for name in named]
        values = {name: np.array([each[name] for each in kept]) for name in kept[0]}
        rows = 1
    else:
        metrics = of_rule[next(iter(named))]
        values = {"instance": np.tile(np.arange(shard.begin, shard.end), len(named))}
        values |= {
            each: np.concatenate([of_rule[name][each] for name in named]) for each in metrics
        }
        rows = shard.end - shard.begin
    total = rows * len(named)
    columns: dict[str, Any] = {
        name: [value] * total if isinstance(value, str) else np.full(total, value)
        for name, value in cell.columns().items()
    }
    return columns | {"rule": [name for name in named for _ in range(rows)]} | values
