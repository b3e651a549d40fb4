"""The command ``sweep``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _options as options
from jaxsched.cli._processes import join

_PATIENCE_S = 300


def _machines(flag: str, help_text: str, metavar: str) -> Any:
    return options.option("Several machines", flag, help_text, metavar)


def sweep(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="The grid; see js.run_sweep.")
    ],
    out_dir: Annotated[
        Path | None, options.output("--out", "Where to keep it (CONFIG, without .toml).", "FOLDER")
    ] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Only say what it would take.")
    ] = False,
    is_distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            metavar="",
            help="Take a share of the shards; SLURM or Open MPI say which.",
            rich_help_panel="Several machines",
        ),
    ] = False,
    coordinator: Annotated[
        str | None, _machines("--coordinator", "Process 0, where nothing says it.", "HOST:PORT")
    ] = None,
    num_processes: Annotated[
        int | None, _machines("--num-processes", "How many there are, likewise.", "N")
    ] = None,
    process_id: Annotated[
        int | None, _machines("--process-id", "Which of them this one is, from 0.", "K")
    ] = None,
    timeout_s: Annotated[
        int | None, _machines("--timeout-s", "How long to wait for the others (300).", "SECONDS")
    ] = None,
) -> None:
    """Run rules over a grid of cells; started again, it goes on where it was stopped."""
    import jax

    from jaxsched._lib.documents import PLAIN, Fields, read_toml

    grid = read_toml(config, Fields(others=PLAIN))
    if out_dir is None:
        out_dir = config.with_suffix("")
        if out_dir == config:
            raise ValueError(f"{config}: has no suffix to leave out; say where with --out")
    if out_dir.exists() and not out_dir.is_dir():
        raise ValueError(f"--out {out_dir}: is no folder; expected a new one or that of a sweep")
    if is_dry_run:
        with _about(config, out_dir):
            size = js.sweeps.plan(grid)
        print(
            f"{size.num_cells} cells, {size.num_simulations} simulations in {size.num_shards} "
            f"shards\nabout {size.shard_bytes / 2**20:.1f} MiB a shard, about "
            f"{size.estimated_s:.1f} s in all, without compilation"
        )
        return
    given = coordinator, num_processes, process_id
    if is_distributed:
        join(*given, timeout_s=_PATIENCE_S if timeout_s is None else timeout_s)
    elif (*given, timeout_s) != (None,) * 4:
        raise ValueError(
            "--coordinator, --num-processes, --process-id and --timeout-s go with --distributed"
        )
    try:
        with _about(config, out_dir):
            js.run_sweep(grid, out_dir)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from what is in {out_dir}", file=sys.stderr)
        raise
    if js.sweeps.is_finished(out_dir):
        print(f"sweep saved to {out_dir}; js.load_sweep reads it")
    else:
        print(
            f"process {jax.process_index()} of {jax.process_count()} saved its share to {out_dir}; "
            "others are not done yet"
        )


@contextlib.contextmanager
def _about(config: Path, out_dir: Path) -> Iterator[None]:
    """Name the file whose settings are wrong, where it is not the folder that is."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(str(out_dir)):
            raise
        raise ValueError(f"{config}: {error}") from error
