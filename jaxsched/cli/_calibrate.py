"""The command ``calibrate``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

import jaxsched as js
from jaxsched.cli import _options as options
from jaxsched.cli._output import console_beside, require_targets, save, save_json, save_plot

_source = functools.partial(options.option, "Measured times")


def calibrate(
    context: typer.Context,
    server_path: Annotated[
        Path, typer.Argument(metavar="SERVER.json", help="Where to keep the clock.")
    ],
    log: Annotated[
        Path | None,
        _source("--log", "Log of vLLM's iterations, or a CSV of steps.", "FILE"),
    ] = None,
    bench: Annotated[
        Path | None,
        _source("--bench", "CSV of TPOT by concurrency and lengths.", "FILE"),
    ] = None,
    kv_capacity: Annotated[
        str | None, _source("--capacity", "KV tokens (those that the log says).", "N")
    ] = None,
    block_size: Annotated[
        int | None, _source("--block-size", "Tokens a block holds, for a log (16).", "N")
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None,
        _source("--max-num-batched-tokens", "Budget of a step, for --bench (2048).", "N"),
    ] = None,
    json_target: options.Json = None,
    plot_path: Annotated[
        Path | None, options.output("--plot", "Predicted against measured times.", "FILE")
    ] = None,
) -> None:
    """Fit a clock to the times of a running engine, for --server of other commands."""
    console = console_beside(json_target)
    require_targets(SERVER=server_path, json=json_target, plot=plot_path)
    if server_path.suffix != ".json":
        raise ValueError(f"SERVER {server_path}: expected a file name that ends in .json")
    if (log is None) == (bench is None):
        raise ValueError("give --log FILE or --bench FILE, one of them")
    if log is None and block_size is not None:
        raise ValueError("--block-size is about a --log")
    if bench is None and max_num_batched_tokens is not None:
        raise ValueError("--max-num-batched-tokens is about --bench")
    tokens = None if kv_capacity is None else options.tokens(kv_capacity)
    if log is not None:
        sizes = {} if block_size is None else {"block_size": block_size}
        found = js.calibrate.fit_log(log, kv_capacity=tokens, **sizes)
    else:
        assert bench is not None
        budget = (
            {}
            if max_num_batched_tokens is None
            else {"max_num_batched_tokens": max_num_batched_tokens}
        )
        found = js.calibrate.fit_bench(bench, **budget)
    console.print(str(found), soft_wrap=True)
    save(server_path, lambda path: found.save(path, kv_capacity=tokens), "server", console)
    if (tokens or found.kv_capacity) is None:
        console.print("it says no KV capacity; give --capacity N, here or where it is used")
    console.print(f"--server {server_path} uses it", soft_wrap=True)
    if plot_path is not None:
        source = str((log or bench or server_path).name)
        save_plot(plot_path, lambda: js.plots.calibration(found, title=source), console)
    if json_target is not None:
        save_json(json_target, context.obj, 0, found.to_dict(), console)
