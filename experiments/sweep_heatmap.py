"""How far from optimal each rule is, over capacities and workloads: the example sweep."""

from __future__ import annotations

import resource
import tempfile
import time
import tomllib
from pathlib import Path

import _common
import matplotlib

import jaxsched as js

matplotlib.use("agg")
_HERE = Path(__file__).resolve().parent


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    grid = tomllib.loads((_HERE / "sweep_example.toml").read_text())
    if is_smoke:
        grid |= {"num_requests": [20, 40], "num_instances": 2}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        js.run_sweep(grid, f"{folder}/first")
        first_s = time.perf_counter() - begin
        begin = time.perf_counter()
        js.run_sweep(grid, f"{folder}/second")
        wall_s = time.perf_counter() - begin
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        cube = js.load_sweep(f"{folder}/second", "xarray")
    gap = cube["gap"].mean("instance").isel(num_requests=-1)  # workload, capacity, rule
    names = []
    for workload in grid["workloads"]:
        names += [f"{workload}, {rule}" for rule in grid["rules"]]
    values = gap.transpose("workload", "rule", "kv_capacity").values.reshape(len(names), -1)
    speed = {
        "simulations": int(cube["gap"].size),
        "first_wall_s": round(first_s, 2),  # programs compiled on the way
        "wall_s": round(wall_s, 2),
        "simulations_per_s": round(cube["gap"].size / wall_s, 1),
        "peak_mib": round(peak_mib),
    }
    rows = gap.to_dataframe().reset_index().to_dict("records")
    path = _common.write_results("sweep_example", rows, grid["seed"], {"speed": [speed]}, grid=grid)
    ax = js.plots.heatmap(
        values,
        names,
        grid["kv_capacity"],
        row_label="workload, rule",
        column_label="KV capacity (tokens)",
        label="mean gap to the volume bound, lower is better",
        is_share=True,
        title=f"{grid['num_instances']} instances of {grid['num_requests'][-1]} requests",
    )
    ax.figure.savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
