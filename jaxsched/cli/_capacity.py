"""The command ``capacity``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import bound_or_none, make_backlog, make_clock, policy_list
from jaxsched.cli._output import console_beside, require_targets, save_json, save_plot
from jaxsched.cli._tuned import warn_of_other_backlogs

_POLICIES = "fcfs,smallest_volume"
_ANY_CAPACITY = str(2**31 - 1)


@dataclasses.dataclass(frozen=True)
class _Backlog(options.Backlog):
    """A backlog whose capacity is looked for, unless servers are counted."""

    kv_capacity: Annotated[
        str | None,
        options.backlog("--capacity", "KV tokens a server, for --vary servers.", "N|server"),
    ] = None


def capacity(
    context: typer.Context,
    target: Annotated[
        str, options.rules("--target", "mean, p95, p99 or makespan, and at most what.", "mean=400")
    ],
    backlog: _Backlog,
    server: options.Server,
    vary: Annotated[
        str,
        options.rules(
            *("--vary", "kv_capacity (default), servers, preset.", "NAME"),
            complete=names.one_of("kv_capacity", "servers", "preset"),
        ),
    ] = "kv_capacity",
    policy_names: Annotated[
        str,
        options.rules(
            *("--policies", f"Rules or file:RULE ({_POLICIES}).", "A,B"), complete=names.rules
        ),
    ] = _POLICIES,
    bound: Annotated[str, options.bound("volume")] = "volume",
    tolerance: Annotated[
        int, options.rules("--tolerance", "How exact to be, in tokens or servers (1).", "N")
    ] = 1,
    json_target: options.Json = None,
    plot_path: Annotated[
        Path | None, options.output("--plot", "Picture of latency by capacity.", "FILE")
    ] = None,
) -> None:
    """Find the least memory, or the fewest servers, with which rules meet a target."""
    console = console_beside(json_target, plot_path)
    require_targets(json=json_target, plot=plot_path)
    rules = policy_list(policy_names)
    one, presets = server.server, None
    if vary == "preset" and one is not None:
        one, presets = None, [each.strip() for each in one.split(",")]
    clock = make_clock(one)
    if vary != "servers":
        if backlog.kv_capacity is not None:
            raise ValueError("--capacity is what is looked for; leave it out, or --vary servers")
        # Requests may be of any length; only what is tried later has to hold them.
        backlog = dataclasses.replace(backlog, kv_capacity=_ANY_CAPACITY)
    inst = make_backlog(backlog, one, console)
    warn_of_other_backlogs(rules, backlog, inst, is_capacity_fixed=vary == "servers")
    plan = js.plan_capacity(
        inst,
        rules,
        _parsed(target),
        vary=vary,  # pyright: ignore[reportArgumentType]  # checked there
        presets=presets,
        clock=clock,
        bound=bound_or_none(bound),
        tolerance=tolerance,
        **server.admits,
    )
    console.print(plan.table())
    if plot_path is not None:
        save_plot(plot_path, lambda: plan.plot(title=backlog.title(server.server)), console)
    if json_target is not None:
        save_json(json_target, context.obj, backlog.seed, plan.to_dict(), console)


def _parsed(target: str) -> tuple[str, float]:
    """Split ``mean=400``."""
    metric, _, value = target.partition("=")
    try:
        return metric.strip(), float(value)
    except ValueError:
        raise ValueError(
            f"--target is {target!r}; expected a metric and a number, such as mean=400"
        ) from None
