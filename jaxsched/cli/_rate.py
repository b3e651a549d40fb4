"""The command ``rate``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import policy_list
from jaxsched.cli._output import console_beside, require_targets, save_csv, save_json, save_plot
from jaxsched.cli._serve import (
    ANY_CAPACITY,
    NamedServer,
    Streams,
    Targets,
    make_requests,
    make_server,
    say_errors,
    say_memory,
)
from jaxsched.cli._tuned import warn_of_other_backlogs
from jaxsched.cli._vary import varied

_POLICIES = "fcfs,smallest_volume"
_FOUND = ("rate", "servers", "kv_capacity")


@dataclasses.dataclass(frozen=True)
class _Streams(Streams):
    """Streams whose rate may be what is looked for."""

    rate: Annotated[
        float | None,
        options.backlog("--rate", "Requests a second, of servers and memory.", "R"),
    ] = None
    needs_rate = False


def rate(
    context: typer.Context,
    machine: NamedServer,
    streams: _Streams,
    targets: Targets,
    attainment: Annotated[
        float, options.rules("--attainment", "Share of requests that should meet all (0.9).", "X")
    ] = 0.9,
    policy_names: Annotated[
        str,
        options.rules(
            *("--policies", f"Rules or file:RULE ({_POLICIES}).", "A,B"), complete=names.rules
        ),
    ] = _POLICIES,
    find: Annotated[
        str,
        options.rules(
            *("--find", "rate, servers or kv_capacity (rate)."),
            "NAME",
            complete=names.one_of(*_FOUND),
        ),
    ] = "rate",
    vary: Annotated[
        list[str] | None,
        options.server("--vary", "Values to try; may be repeated.", "NAME=A,B"),
    ] = None,
    json_target: options.Json = None,
    csv_path: options.Csv = None,
    plot_path: Annotated[
        Path | None, options.output("--plot", "Picture of service by what was tried.", "FILE")
    ] = None,
) -> None:
    """Find the highest rate, the fewest servers or the least memory within targets."""
    console = console_beside(json_target, csv_path, plot_path)
    require_targets(json=json_target, csv=csv_path, plot=plot_path)
    _check_find(find, streams)
    settings = varied(vary or [])
    rules = policy_list(policy_names)
    reqs = make_requests(_with_some_rate(streams))
    warn_of_other_backlogs(rules, streams, reqs.as_backlog(ANY_CAPACITY), is_capacity_fixed=False)
    server = make_server(machine, streams.kv_capacity)
    search: Any = {"rate": js.plan_rate, "servers": js.plan_servers, "kv_capacity": js.plan_memory}
    plan = search[find](
        reqs,
        server,
        rules,
        vary=settings,
        attainment=attainment,
        **targets.seconds(),
    )
    if find != "kv_capacity" and "kv_capacity" not in settings:
        say_memory(server, console)
    say_errors(streams, console)
    console.print(plan.table())
    if plot_path is not None:
        title = streams.title(machine.server)
        save_plot(plot_path, lambda: plan.plot(title=title)["attainment"], console)
    if csv_path is not None:
        save_csv(csv_path, plan.records(), console)
    if json_target is not None:
        save_json(json_target, context.obj, streams.seed, plan.to_dict(), console)


def _check_find(find: str, streams: _Streams) -> None:
    if find not in _FOUND:
        raise ValueError(f"--find is {find!r}; expected one of {', '.join(_FOUND)}")
    if find == "rate" and streams.rate is not None:
        raise ValueError("--rate is what is looked for; leave it out, or --find servers")
    if find != "rate" and streams.rate is None and streams.trace is None:
        raise ValueError(f"--rate is missing; say at what rate to --find {find}")
    if find == "kv_capacity" and streams.kv_capacity is not None:
        raise ValueError("--capacity is what is looked for; leave it out")


def _with_some_rate(streams: _Streams) -> _Streams:
    """Give streams without times of their own one request a second; a search scales them."""
    from jaxsched.workloads.traces import has_arrival_times

    has_times = streams.trace is not None and has_arrival_times(streams.trace, streams.columns)
    if streams.rate is not None or has_times:
        return streams
    return dataclasses.replace(streams, rate=1.0)
