"""The commands that say what there is: ``policies``, ``workloads`` and ``trace``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from jaxsched import policies as registry
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import WORKLOADS, tokens
from jaxsched.workloads import traces


def policies() -> None:
    """List the rules that --policies takes."""
    table = _table("name", "also", "what it does", "source")
    for name in registry.names():
        info = registry.info(name)
        summary = re.sub(r":math:`(.*?)`", r"\1", info.summary)
        table.add_row(name, ", ".join(info.aliases), summary, info.source)
    Console(highlight=False).print(table)


def workloads() -> None:
    """List the synthetic lengths that --workload takes."""
    table = _table("name", "what it draws", "source")
    for name, workload in WORKLOADS.items():
        summary = (inspect.getdoc(workload) or "").partition("\n")[0]
        table.add_row(name, summary, _source(workload))
    Console(highlight=False).print(table)


def trace(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A trace in a public format, plain or gzip."),
    ] = None,
    download: Annotated[
        str | None, typer.Option(metavar="NAME", help="Fetch a public trace and describe it.")
    ] = None,
    capacity: options.Capacity = None,
) -> None:
    """Describe a file of recorded lengths; without one, list what can be downloaded."""
    console = Console(highlight=False, soft_wrap=True)
    if path is not None and download is not None:
        raise ValueError("give a FILE or --download, not both")
    if download is not None:
        path = traces.download(download)
        console.print(f"{download} is {path}\n")
    if path is not None:
        _describe(path, tokens(capacity), console)
        return
    table = _table("name", "licence")
    for name, source in traces.SOURCES.items():
        table.add_row(name, source.licence)
    console.print(table)
    console.print("\njaxsched trace --download NAME fetches one; --trace takes the file")


def _describe(path: Path, kv_capacity: int, console: Console) -> None:
    found = traces.read(path)
    total = found.prompt_tokens + found.output_tokens
    percents = (0, 10, 50, 90, 99, 100)
    table = _table("tokens", "mean", *(f"{percent}%" for percent in percents))
    for name, values in (
        ("prompt", found.prompt_tokens),
        ("output", found.output_tokens),
        ("prompt + output", total),
    ):
        quantiles = np.percentile(values, percents)
        table.add_row(name, *(f"{value:.0f}" for value in (values.mean(), *quantiles)))
    span = ""
    if found.arrived_at is not None:
        span = f" over {np.ptp(found.arrived_at):.0f} s"
    console.print(f"{path}: {len(total)} requests{span}\n")
    console.print(table)
    is_empty = (found.prompt_tokens < 1) | (found.output_tokens < 1)
    num_large = np.count_nonzero(~is_empty & (total > kv_capacity))
    console.print(f"\nthe largest request needs --capacity {total[~is_empty].max(initial=0)}")
    for count, reason in (
        (num_large, f"need more than {kv_capacity} tokens"),
        (np.count_nonzero(is_empty), "have no prompt or no output"),
    ):
        if count:
            console.print(f"{count} requests {reason}; --drop-invalid leaves them out")


def _table(first: str, *headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right" if header.endswith(("%", "mean")) else "left")
    return table


def _source(documented: Any) -> str:
    """Name the arXiv papers that a docstring cites."""
    return ", ".join(re.findall(r"arXiv:\d+\.\d+", inspect.getdoc(documented) or ""))
