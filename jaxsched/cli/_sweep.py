"""The command ``sweep``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from jaxsched.cli import _options as options
from jaxsched.sweeps import plan, run_sweep


def sweep(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="The grid; see js.run_sweep.")
    ],
    out_dir: Annotated[
        Path | None, options.output("--out", "Where to keep it (CONFIG, without .toml).", "FOLDER")
    ] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would take.")
    ] = False,
) -> None:
    """Run rules over a grid of cells; started again, it goes on where it was stopped."""
    try:
        grid = tomllib.loads(config.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{config}: {error}") from error
    if out_dir is None:
        out_dir = config.with_suffix("")
        if out_dir == config:
            raise ValueError(f"{config}: has no suffix to leave out; say where with --out")
    if is_dry_run:
        found = plan(grid)
        print(
            f"{found.num_cells} cells, {found.num_simulations} simulations in {found.num_shards} "
            f"shards\nabout {found.shard_bytes / 2**20:.1f} MiB a shard, about "
            f"{found.estimated_s:.1f} s in all, without compilation"
        )
        return
    run_sweep(grid, out_dir)
    print(f"sweep saved to {out_dir}; js.load_sweep reads it")
