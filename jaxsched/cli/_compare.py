"""The command ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import bound_or_none, make_backlog, make_clock, policy_list
from jaxsched.cli._output import console_beside, require_targets, save_csv, save_json, save_plot
from jaxsched.cli._tuned import warn_of_other_backlogs

_POLICIES = "fcfs,shortest_output,shortest_prompt,total_size,smallest_volume"


def compare(
    context: typer.Context,
    backlog: options.Backlog,
    server: options.Server,
    policy_names: Annotated[
        str,
        options.rules(
            *("--policies", "Rules or file:RULE, with commas between.", "A,B"),
            complete=names.rules,
        ),
    ] = _POLICIES,
    baseline: Annotated[
        str | None,
        options.rules(
            *("--baseline", "Compare with this rule (fcfs if there).", "NAME"),
            complete=names.rule,
        ),
    ] = None,
    bound: Annotated[str, options.bound("volume")] = "volume",
    deadline_s: options.DeadlineS = None,
    json_target: options.Json = None,
    csv_path: options.Csv = None,
    plot_path: Annotated[
        Path | None, options.output("--plot", "Picture of mean latencies (.png, .pdf, ..).", "FILE")
    ] = None,
) -> None:
    """Compare rules on the same backlogs: which is best, by how much, how far from optimal."""
    console = console_beside(json_target, csv_path, plot_path)
    require_targets(json=json_target, csv=csv_path, plot=plot_path)
    rules = policy_list(policy_names)
    clock = make_clock(server.server, deadline_s)
    inst = make_backlog(backlog, server.server, console)
    warn_of_other_backlogs(rules, backlog, inst)
    comparison = js.compare(
        inst,
        rules,
        baseline or _default_baseline(rules),
        bound_or_none(bound),
        clock,
        deadline_s=deadline_s,
        **server.admits,
    )
    console.print(comparison.table())
    if plot_path is not None:
        save_plot(plot_path, lambda: comparison.plot(title=backlog.title(server.server)), console)
    if csv_path is not None:
        save_csv(csv_path, comparison.records(), console)
    if json_target is not None:
        save_json(json_target, context.obj, backlog.seed, comparison.to_dict(), console)


def _default_baseline(rules: list[str]) -> str | None:
    if len(rules) < 2:
        return None
    return "fcfs" if "fcfs" in rules else rules[0]
