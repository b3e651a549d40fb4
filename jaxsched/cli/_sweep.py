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
) -> None:
    """Run rules over a grid of cells; started again, it goes on where it was stopped."""
    import jax

    from jaxsched._lib.documents import PLAIN, Fields, read_toml

    grid = read_toml(config, Fields(others=PLAIN))
    if out_dir is None:
        out_dir = config.with_suffix("")
        if out_dir == config:
            raise ValueError(f"{config}: has no suffix to leave out; say where with --out")
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
        _join(*given)
    elif given != (None, None, None):
        raise ValueError("--coordinator, --num-processes and --process-id go with --distributed")
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


def _join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Learn which process this is, and then part, so that none falls with another."""
    import jax

    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{error} Nothing says so here: start it under SLURM or Open MPI, or give "
            "--coordinator, --num-processes and --process-id"
        ) from error
    jax.devices()  # which remember their place
    jax.distributed.shutdown()
