"""Reading a finished sweep back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args

from jaxsched.sweeps import _files
from jaxsched.sweeps._grid import label, shards

Form = Literal["pandas", "moments", "xarray"]


def load_sweep(out_dir: str | os.PathLike[str], form: Form = "pandas") -> Any:
    """Read the table that :func:`run_sweep` left in a folder.

    Args:
      out_dir: the folder.
      form: ``"pandas"`` gives a DataFrame with one row for each cell, rule and instance;
        ``"moments"`` one row for each cell and rule, with the ``mean``, ``std`` and ``count`` of
        each metric; ``"xarray"`` a Dataset of the metrics with the grid as its axes.

    Returns:
      The table, in the order of the grid.

    Raises:
      ValueError: the folder holds no sweep or an unfinished one, or the form is unknown.
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
    if form not in get_args(Form):
        raise ValueError(f"form is {form!r}; expected one of {get_args(Form)}")
    _files.require_extra()
    import pandas as pd

    folder = Path(out_dir)
    grid = _files.read_manifest(folder)["grid"]
    expected = shards(grid)
    if left := _files.missing(folder, expected):
        raise ValueError(
            f"{folder}: {len(left)} of {len(expected)} shards are missing; run the sweep again "
            "with the same grid, and it computes those"
        )
    parts = [pd.read_parquet(folder / shard.file_name) for shard in expected]
    table = pd.concat(parts, ignore_index=True)
    axes = [
        "workload",
        "num_requests",
        "kv_capacity",
        *(["server"] if grid["servers"] else []),
        "rule",
    ]
    if form == "moments":
        groups = table.groupby(axes, sort=False)
        return groups[list(table.columns[len(axes) + 1 :])].agg(["mean", "std", "count"])
    if form == "xarray":
        order = {"workload": [label(options) for options in grid["workloads"]]}
        order["rule"] = [label(options) for options in grid["rules"]]
        return table.set_index([*axes, "instance"]).to_xarray().sel(order)
    return table
