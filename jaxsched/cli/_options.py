"""Options that several commands share."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer


def option(panel: str, flag: str, help_text: str, metavar: str, **settings: Any) -> Any:
    """Make an option without a default in its help, which says it in words."""
    return typer.Option(
        flag,
        help=help_text,
        metavar=metavar,
        rich_help_panel=panel,
        show_default=False,
        **settings,
    )


backlog = functools.partial(option, "Backlog")
scheduling = functools.partial(option, "Scheduling")
output = functools.partial(option, "Output")

Workload = Annotated[
    str | None,
    backlog("--workload", "Synthetic request lengths (mixed).", "NAME"),
]
TraceFile = Annotated[Path | None, backlog("--trace", "Recorded request lengths instead.", "FILE")]
Requests = Annotated[
    int | None,
    backlog("--requests", "Requests an instance (1000; of a trace, all).", "N"),
]
Instances = Annotated[
    int | None,
    backlog("--instances", "Instances (64; of a trace, 1 or N samples).", "N"),
]
Seed = Annotated[int, backlog("--seed", "Seed of all random draws (0).", "N")]
Capacity = Annotated[
    str | None,
    backlog("--capacity", "Tokens of KV cache (16492), or --server's.", "N|server"),
]
DropInvalid = Annotated[
    bool,
    typer.Option(
        "--drop-invalid",
        help="Leave out rows of a trace that cannot run.",
        rich_help_panel="Backlog",
    ),
]
Discipline = Annotated[str, scheduling("--discipline", "strict (default) or earliest_fit.", "NAME")]
Admission = Annotated[str, scheduling("--admission", "look_ahead (default) or peak.", "NAME")]
MaxNumSeqs = Annotated[
    int | None,
    scheduling("--max-num-seqs", "Most requests active at once (no cap).", "N"),
]
Server = Annotated[
    str | None, scheduling("--server", "Count seconds on this server, not rounds.", "NAME")
]
DeadlineS = Annotated[
    float | None,
    scheduling("--deadline-s", "Count requests done by then; needs --server.", "SECONDS"),
]
Json = Annotated[str | None, output("--json", "Results with a manifest; - is stdout.", "FILE|-")]
Csv = Annotated[Path | None, output("--csv", "Results as a table.", "FILE")]
