"""Reading a finished sweep back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from jaxsched._lib.errors import choice
from jaxsched.studies.sweeps import _files
from jaxsched.studies.sweeps._moments import MOMENTS, merged, moments
from jaxsched.studies.sweeps._shards import axes, label

Form = Literal["pandas", "moments", "xarray"]


def load_sweep(out_dir: str | os.PathLike[str], form: Form = "pandas") -> Any:
    """Read the table that :func:`run_sweep` left in a folder; every shard's hash is checked.

    Args:
      out_dir: the folder.
      form: ``"pandas"`` gives a DataFrame with one row for each cell, rule and instance;
        ``"moments"`` one row for each cell and rule, with the ``mean``, ``std``, ``min``, ``max``
        and ``count`` of each metric; ``"xarray"`` a Dataset of the metrics with the grid as its
        axes. Of a sweep that keeps moments, ``"pandas"`` is the same as ``"moments"``, and a
        Dataset has the axis ``moment`` in place of ``instance``.

    Returns:
      The table, in the order of the grid. ``num_requests`` and ``kv_capacity`` are 0 where every
      instance draws its own.

    Raises:
      ValueError: the folder holds no sweep or an unfinished one, a shard is damaged (it is
        named), or the form is unknown.
      ImportError: pyarrow, or for its form xarray, is not installed.

    Example:
      >>> import tempfile
      >>> import jaxsched as js
      >>> grid = {"workloads": ["chat"], "num_requests": [20], "kv_capacity": [1200, 4800],
      ...         "rules": ["fcfs", "smallest_volume"], "num_instances": 3}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     moments = js.load_sweep(js.run_sweep(grid, folder), form="moments")
      >>> moments["mean_latency_rounds"]["count"].tolist()
      [3, 3, 3, 3]
    """
    choice("form", form, get_args(Form))
    _files.require_extra()
    import pandas as pd

    folder = Path(out_dir)
    kept = _files.read_manifest(folder)
    grid = kept["grid"]
    expected = _files.kept_shards(folder, grid)
    if left := _files.missing(folder, expected):
        raise ValueError(
            f"{folder}: {len(left)} of {len(expected)} shards are missing; run the sweep again "
            "with the same grid, and it computes those"
        )
    names = axes(grid)
    tables = (_files.read_shard(folder, shard, kept) for shard in expected)
    if form == "moments" or grid["keep"] == "moments":
        table = _moments_table(tables, names)
        if form != "xarray":
            return table
        return _cube(table.stack("moment", future_stack=True), grid, {"moment": list(MOMENTS)})
    table = pd.concat(tables, ignore_index=True)
    return _cube(table.set_index([*names, "instance"]), grid, {}) if form == "xarray" else table


def is_finished(out_dir: str | os.PathLike[str]) -> bool:
    """Tell whether all shards of the sweep in a folder are there.

    Args:
      out_dir: the folder.

    Returns:
      True where :func:`load_sweep` has all it needs.

    Raises:
      ValueError: the folder holds no sweep.

    Example:
      >>> import tempfile
      >>> import jaxsched as js
      >>> grid = {"workloads": ["uniform"], "rules": ["fcfs"], "num_instances": 2}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     js.sweeps.is_finished(js.run_sweep(grid, folder))
      True
    """
    folder = Path(out_dir)
    grid = _files.read_manifest(folder)["grid"]
    return not _files.missing(folder, _files.kept_shards(folder, grid))


def _moments_table(tables: Iterable[Any], names: list[str]) -> Any:
    """Merge the moments of the shards of each cell and rule."""
    import pandas as pd

    parts: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for table in tables:
        if "instance" not in table:
            for row in table.to_dict("records"):
                parts.setdefault(tuple(row[axis] for axis in names), []).append(row)
            continue
        metrics = [name for name in table.columns if name not in (*names, "instance")]
        for cell, rows in table.groupby(names, sort=False):
            part = moments({name: rows[name].to_numpy() for name in metrics})
            parts.setdefault(cell, []).append(part)
    index = pd.MultiIndex.from_tuples(parts, names=names)
    table = pd.DataFrame([merged(part) for part in parts.values()], index=index)
    table.columns = pd.MultiIndex.from_tuples(table.columns, names=["metric", "moment"])
    return table


def _cube(table: Any, grid: dict[str, Any], order: dict[str, list[Any]]) -> Any:
    """Make the index the axes of a Dataset, those of names in the order of the grid."""
    words = {
        name: values
        for name, values in grid.get("settings", {}).items()
        if isinstance(values[0], str)
    }
    order = {
        "workload": [label(options) for options in grid["workloads"]],
        "rule": [label(options) for options in grid["rules"]],
        **words,
        **order,
    }
    return table.to_xarray().sel(order)
