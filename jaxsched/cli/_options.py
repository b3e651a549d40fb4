"""Options that several commands share. Each is called what the library calls its argument."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxsched.cli import _names as names

DEFAULT_WORKLOAD = "mixed"
DEFAULT_REQUESTS = 1000
_MAX_REQUESTS = 2**28  # about 10 GB of lengths, priorities and schedules


def option(panel: str, flag: str, help_text: str, metavar: str, complete: Any = None) -> Any:
    """Make an option without a default in its help, which says it in words."""
    return typer.Option(
        flag,
        help=help_text,
        metavar=metavar,
        rich_help_panel=panel,
        show_default=False,
        autocompletion=complete,
    )


backlog = functools.partial(option, "Requests")
rules = functools.partial(option, "Rules")
server = functools.partial(option, "Server")
output = functools.partial(option, "Output")

Capacity = Annotated[
    str | None,
    backlog("--capacity", "KV tokens (those of --server, or 16492).", "N|server"),
]
ServerName = Annotated[
    str | None,
    server(
        *("--server", "Take its KV capacity, and count seconds.", "NAME|FILE"),
        complete=names.one_of(*names.SERVERS),
    ),
]
Columns = Annotated[
    str | None,
    backlog("--columns", "Its prompt=A,output=B,arrival=C,unit=s.", "A=B,.."),
]
Since = Annotated[str | None, backlog("--from", "First row, or time (90s, 2h, date).", "N|T")]
Until = Annotated[str | None, backlog("--until", "Where to stop, likewise.", "N|T")]


@dataclasses.dataclass(frozen=True)
class Backlog:
    """Which requests there are, and the memory they must fit."""

    workload: Annotated[
        str | None,
        backlog(
            *("--workload", "Synthetic request lengths (mixed).", "NAME"),
            complete=names.one_of(*names.WORKLOADS),
        ),
    ] = None
    trace: Annotated[
        Path | None, backlog("--trace", "Recorded request lengths instead.", "FILE")
    ] = None
    num_requests: Annotated[
        int | None, backlog("--requests", "Requests in each (1000; of a trace, all).", "N")
    ] = None
    batch: Annotated[
        int | None, backlog("--instances", "Instances (64; of a trace, 1 or N samples).", "N")
    ] = None
    seed: Annotated[int, backlog("--seed", "Seed of all random draws (0).", "N")] = 0
    kv_capacity: Capacity = None
    drop_invalid: Annotated[
        bool, backlog("--drop-invalid", "Leave out rows of a trace that cannot run.", "")
    ] = False
    columns: Columns = None
    since: Since = None
    until: Until = None
    batch_flag = "--instances"

    def __post_init__(self) -> None:
        """Refuse what can be refused before anything is loaded."""
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed is {self.seed}; expected an integer from 0 to 2^32 - 1")
        for flag, count in (("--requests", self.num_requests), (self.batch_flag, self.batch)):
            if count is not None and count < 1:
                raise ValueError(f"{flag} is {count}; expected an integer >= 1")
        total = (self.num_requests or DEFAULT_REQUESTS) * (self.batch or 1)
        if total > _MAX_REQUESTS:
            raise ValueError(
                f"--requests times {self.batch_flag} is {total}; expected at most "
                f"{_MAX_REQUESTS}, for the sake of memory: run several with other seeds"
            )
        if self.trace is None:
            given = {"--drop-invalid": self.drop_invalid, "--columns": self.columns}
            for flag, value in (given | {"--from": self.since, "--until": self.until}).items():
                if value:
                    raise ValueError(f"{flag} is about rows of a --trace")
        if self.trace is not None and self.workload is not None:
            raise ValueError("--workload and --trace exclude each other; give one of them")
        if self.kv_capacity not in (None, "server"):
            tokens(self.kv_capacity)

    @property
    def rows(self) -> dict[str, Any]:
        """Which rows and columns of the trace, as the library's functions take it."""
        return {"columns": self.columns, "since": self.since, "until": self.until}

    @property
    def source(self) -> str:
        """Where the requests come from, in a phrase."""
        if self.trace is not None:
            return f"trace {self.trace.name}"
        return f"workload {self.workload or DEFAULT_WORKLOAD}"

    def title(self, server: str | None) -> str:
        """Say what a picture was made of."""
        return self.source if server is None else f"{self.source}, server {server}"


@dataclasses.dataclass(frozen=True)
class OneBacklog(Backlog):
    """The same, where one instance is plenty."""

    batch: Annotated[
        int | None, backlog("--instances", "Instances (1; of a trace, samples).", "N")
    ] = None


@dataclasses.dataclass(frozen=True)
class Clock:
    """Whose seconds count."""

    server: ServerName = None


@dataclasses.dataclass(frozen=True)
class Server(Clock):
    """The server, and how it lets requests in."""

    discipline: Annotated[
        str,
        server(
            *("--discipline", "strict (default) or earliest_fit.", "NAME"),
            complete=names.one_of("strict", "earliest_fit"),
        ),
    ] = "strict"
    admission: Annotated[
        str,
        server(
            *("--admission", "look_ahead (default) or peak.", "NAME"),
            complete=names.one_of("look_ahead", "peak"),
        ),
    ] = "look_ahead"
    max_num_seqs: Annotated[
        int | None, server("--max-num-seqs", "Most requests active at once (no cap).", "N")
    ] = None

    @property
    def admits(self) -> dict[str, Any]:
        """How requests are let in, as the library's functions take it."""
        return {
            "discipline": self.discipline,
            "admission": self.admission,
            "max_num_seqs": self.max_num_seqs,
        }


Policy = Annotated[
    str, rules("--policy", "The rule (smallest_volume).", "NAME", complete=names.rule)
]
DeadlineS = Annotated[
    float | None,
    server("--deadline-s", "Count requests done by then; needs --server.", "SECONDS"),
]
Json = Annotated[str | None, output("--json", "Results with a manifest; - is stdout.", "FILE|-")]
Csv = Annotated[Path | None, output("--csv", "Results as a table.", "FILE")]


def bound(default: str) -> Any:
    """Make the option that names a bound."""
    others = [name for name in names.BOUNDS if name != default]
    return rules(
        "--bound",
        f"{default} (default), {', '.join(others)} or none.",
        "NAME",
        complete=names.one_of(*names.BOUNDS, "none"),
    )


def tokens(capacity: str) -> int:
    """Tokens that a number in ``--capacity`` stands for."""
    from jaxsched._lib.quantities import whole_number

    number = whole_number(capacity) or 0
    if number < 1:
        raise ValueError(f"--capacity is {capacity!r}; expected an integer >= 1, or 'server'")
    return number
