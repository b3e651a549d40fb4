"""The command ``report``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import policy_list
from jaxsched.cli._output import console_beside, require_targets, save, save_json
from jaxsched.cli._serve import NamedServer, make_server
from jaxsched.cli._vary import varied

_POLICIES = "fcfs,shortest_prompt,smallest_volume"
_TARGETS = {name: f"{name}_slo_s" for name in ("ttft", "tpot", "e2e")}
_EXAMPLE = "--targets ttft=500ms,tpot=50ms"


@dataclasses.dataclass(frozen=True)
class _Log:
    """The log to report on."""

    trace: Annotated[Path, options.backlog("--trace", "Recorded requests, with times.", "FILE")]
    columns: options.Columns = None
    since: options.Since = None
    until: options.Until = None
    sort: Annotated[bool, options.backlog("--sort", "Order rows by arrival.", "")] = False
    drop_invalid: Annotated[
        bool, options.backlog("--drop-invalid", "Leave out rows that cannot run.", "")
    ] = False
    num_requests: Annotated[
        int | None, options.backlog("--requests", "Requests of a run (1000).", "N")
    ] = None
    num_runs: Annotated[
        int, options.backlog("--runs", "Runs to choose by, and to check on (8).", "N")
    ] = 8


def report(
    context: typer.Context,
    machine: NamedServer,
    log: _Log,
    targets: Annotated[
        str, options.rules("--targets", "Such as ttft=500ms,tpot=50ms.", "NAME=TIME,..")
    ],
    attainment: Annotated[
        float, options.rules("--attainment", "Share that should meet all (0.9).", "X")
    ] = 0.9,
    policy_names: Annotated[
        str,
        options.rules(
            "--policies",
            "Orders to try, first that of now (three).",
            "A,B",
            complete=names.rules,
        ),
    ] = _POLICIES,
    kv_capacity: Annotated[
        str | None, options.server("--capacity", "KV tokens (those of --server).", "N|server")
    ] = None,
    vary: Annotated[
        list[str] | None,
        options.server("--vary", "Values to try; may be repeated.", "NAME=A,B"),
    ] = None,
    html_path: Annotated[Path, options.output("--html", "The page (report.html).", "FILE")] = Path(
        "report.html"
    ),
    json_target: options.Json = None,
) -> None:
    """Report on a log: what the server takes, and which settings and order give more."""
    console = console_beside(json_target)
    goal = _targets(targets)
    require_targets(html=html_path, json=json_target)
    _require_matplotlib()
    rules = policy_list(policy_names)
    settings = varied(vary) if vary else None
    server = make_server(machine, kv_capacity)
    reqs = _requests(log)
    with _about(log):
        decision = js.decide(
            reqs,
            server,
            rules,
            vary=settings,
            attainment=attainment,
            **goal,
            num_requests=log.num_requests,
            num_runs=log.num_runs,
            known=js.servers.info(machine.server),
        )
    console.print(str(decision), soft_wrap=True)
    made_by = f"Made by jaxsched {version('jaxsched')}: {context.obj}"
    save(
        html_path,
        lambda path: decision.to_html(path, name=log.trace.name, made_by=made_by),
        "report",
        console,
    )
    if json_target is not None:
        save_json(json_target, context.obj, 0, decision.to_dict(), console)


def _requests(log: _Log) -> js.Requests:
    """Read the log, which needs times."""
    if not js.traces.has_arrival_times(log.trace, log.columns):
        raise ValueError(
            f"{log.trace}: has no times of arrival, which a report needs; if a column holds them, "
            "say which: --columns arrival=NAME,unit=s"
        )
    return js.traces.load_requests(
        log.trace,
        sort=log.sort,
        drop_invalid=log.drop_invalid,
        columns=log.columns,
        since=log.since,
        until=log.until,
    )


@contextlib.contextmanager
def _about(log: _Log) -> Iterator[None]:
    """Name the file that is too short for the runs."""
    from jaxsched._lib.errors import InputError

    try:
        yield
    except InputError as error:
        if error.argument != "reqs":
            raise
        remedy = "" if log.num_requests is not None else ", or fewer --runs"
        raise ValueError(f"{error.about(f'{log.trace}:')}{remedy}") from error


def _targets(text: str) -> dict[str, Any]:
    """Read ``ttft=500ms,tpot=50ms``."""
    from jaxsched._lib.quantities import seconds

    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        if name.lower() not in _TARGETS or not equals:
            known = ", ".join(_TARGETS)
            raise ValueError(f"--targets has {part!r}; expected {known} with a time: {_EXAMPLE}")
        argument = _TARGETS[name.lower()]
        if argument in found:
            raise ValueError(f"--targets names {name.lower()} twice; give it once")
        time_s = seconds(value)
        if not time_s:
            raise ValueError(
                f"--targets has {part!r}; expected a time above 0 with its unit, us, ms or s: "
                f"{_EXAMPLE}"
            )
        found[argument] = time_s
    return found


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('report needs matplotlib: pip install "jaxsched[plot]"') from error
