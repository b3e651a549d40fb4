"""The command ``trace``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import kv_tokens
from jaxsched.cli._output import console_beside

if TYPE_CHECKING:
    from rich.console import Console

_PERCENTS = (0, 10, 50, 90, 99, 100)


def trace(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A trace: CSV, JSON or Parquet, also compressed."),
    ] = None,
    download: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Fetch a public trace and describe it.",
            autocompletion=names.one_of(*names.TRACES),
        ),
    ] = None,
    kv_capacity: options.Capacity = None,
    server: options.ServerName = None,
    columns: options.Columns = None,
    since: options.Since = None,
    until: options.Until = None,
) -> None:
    """Describe a file of recorded lengths; without one, list what can be downloaded."""
    console = console_beside()
    if path is not None and download is not None:
        raise ValueError("give a FILE or --download, not both")
    if download is not None:
        path = js.traces.download(download)
        console.print(f"{download} is {path}\n", soft_wrap=True)
    if path is not None:
        rows = {"columns": columns, "since": since, "until": until}
        _describe(path, rows, kv_tokens(kv_capacity, server), console)
    else:
        _list_sources(console)


def _list_sources(console: Console) -> None:
    from jaxsched.show.tables import Listing

    rows = [(name, source.licence) for name, source in js.traces.SOURCES.items()]
    console.print(Listing(("trace", "licence"), rows))
    console.print("\njaxsched trace --download NAME fetches one; --trace takes the file")


def _describe(path: Path, rows: dict[str, Any], kv_capacity: int, console: Console) -> None:
    import numpy as np

    from jaxsched._lib.errors import InputError
    from jaxsched._lib.words import counted

    trace, bad_times = js.traces.read(path, **rows, times=False), ""
    span = ""
    if js.traces.has_arrival_times(path, columns=rows["columns"]):
        try:
            arrived_at = np.asarray(js.traces.read(path, **rows).arrived_at)
            span = f" over {np.nanmax(arrived_at) - np.nanmin(arrived_at):.0f} s"
        except ValueError as error:  # lengths are there all the same
            said = str(error)
            if isinstance(error, InputError) and error.argument == "columns":
                said = error.about("--columns")
            bad_times = f"times of arrival cannot be used: {said}"
    total = trace.prompt_tokens + trace.output_tokens
    console.print(f"{path}: {counted(total.size, 'request')}{span}\n", soft_wrap=True)
    if bad_times:
        console.print(f"{bad_times}\n", soft_wrap=True)
    console.print(_quantiles(trace, total))
    is_empty = (trace.prompt_tokens < 1) | (trace.output_tokens < 1)
    num_large = np.count_nonzero(~is_empty & (total > kv_capacity))
    console.print(f"\nthe largest request needs --capacity {total[~is_empty].max(initial=0)}")
    for count, kind in (
        (num_large, f"of more than {kv_capacity} tokens"),
        (np.count_nonzero(is_empty), "without a prompt or without an output"),
    ):
        if count:
            left_out = counted(int(count), "request")
            console.print(f"{left_out} {kind}; --drop-invalid leaves such rows out")


def _quantiles(trace: js.traces.Trace, total: Any) -> Any:
    import numpy as np

    from jaxsched._lib.layout import Column, Layout
    from jaxsched.show.tables import FittedTable

    of = {"prompt": trace.prompt_tokens, "output": trace.output_tokens, "prompt + output": total}
    numbers = [[values.mean(), *np.percentile(values, _PERCENTS)] for values in of.values()]
    headers = ["mean", *(f"{percent}%" for percent in _PERCENTS)]
    columns = [Column("tokens", list(of))]
    for header, values in zip(headers, zip(*numbers, strict=True), strict=True):
        columns.append(Column(header, [f"{value:.0f}" for value in values]))
    return FittedTable(Layout(title="", columns=columns, caption=""))
