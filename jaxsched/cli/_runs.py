"""The commands that schedule: ``compare`` and ``simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from jaxsched import metrics, policies
from jaxsched._lib.files import write_whole
from jaxsched._lib.layout import Column, Layout
from jaxsched._lib.manifest import manifest
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import make_backlog, make_clock, picture_title, policy_list
from jaxsched.cli._output import (
    console_beside,
    require_targets,
    save_csv,
    save_json,
    save_plot,
)
from jaxsched.engine.simulate import simulate as simulate_rule
from jaxsched.model.schedule import require_ok
from jaxsched.show.tables import interval_caption, rich_table, written
from jaxsched.studies.comparing.compare import compare as compare_rules
from jaxsched.studies.comparing.comparison import Comparison

DEFAULT_POLICIES = "fcfs,shortest_output,shortest_prompt,total_size,smallest_volume"


def compare(
    context: typer.Context,
    workload: options.Workload = None,
    trace: options.TraceFile = None,
    requests: options.Requests = None,
    instances: options.Instances = None,
    seed: options.Seed = 0,
    capacity: options.Capacity = None,
    drop_invalid: options.DropInvalid = False,
    policy_names: Annotated[
        str,
        options.scheduling("--policies", "Rules or file:RULE, with commas between.", "A,B"),
    ] = DEFAULT_POLICIES,
    baseline: Annotated[
        str | None,
        options.scheduling("--baseline", "Compare with this rule (fcfs if there).", "NAME"),
    ] = None,
    bound: Annotated[
        str, options.scheduling("--bound", "volume (default), mean_busy, price, none.", "NAME")
    ] = "volume",
    discipline: options.Discipline = "strict",
    admission: options.Admission = "look_ahead",
    max_num_seqs: options.MaxNumSeqs = None,
    server: options.Server = None,
    deadline_s: options.DeadlineS = None,
    json_target: options.Json = None,
    csv_path: options.Csv = None,
    plot_path: Annotated[
        Path | None, options.output("--plot", "Picture of mean latencies (.png, .pdf, ..).", "FILE")
    ] = None,
) -> None:
    """Compare rules on the same backlogs: which is best, by how much, how far from optimal."""
    console = console_beside(json_target)
    require_targets(json=json_target, csv=csv_path, plot=plot_path)
    rules = policy_list(policy_names)
    clock = make_clock(server, deadline_s)
    inst = make_backlog(workload, trace, requests, instances, seed, capacity, server, drop_invalid)
    found = compare_rules(
        inst,
        rules,
        baseline or _default_baseline(rules),
        None if bound == "none" else bound,
        clock,
        discipline=discipline,
        admission=admission,
        max_num_seqs=max_num_seqs,
        deadline_s=deadline_s,
    )
    console.print(found.table())
    if plot_path is not None:
        title = picture_title(workload, trace, server)
        save_plot(plot_path, lambda: found.plot(title=title), console)
    _save_numbers(found, csv_path, json_target, console, manifest(context.obj, seed))


def _default_baseline(rules: list[str]) -> str | None:
    if len(rules) < 2:
        return None
    return "fcfs" if "fcfs" in rules else rules[0]


def simulate(
    context: typer.Context,
    workload: options.Workload = None,
    trace: options.TraceFile = None,
    requests: options.Requests = None,
    instances: options.Instances = None,
    seed: options.Seed = 0,
    capacity: options.Capacity = None,
    drop_invalid: options.DropInvalid = False,
    policy: Annotated[
        str, options.scheduling("--policy", "The rule (smallest_volume).", "NAME")
    ] = "smallest_volume",
    discipline: options.Discipline = "strict",
    admission: options.Admission = "look_ahead",
    max_num_seqs: options.MaxNumSeqs = None,
    server: options.Server = None,
    deadline_s: options.DeadlineS = None,
    save_path: Annotated[
        Path | None, options.output("--save", "The schedule, for js.Schedule.load.", "FILE.npz")
    ] = None,
    json_target: options.Json = None,
    csv_path: options.Csv = None,
) -> None:
    """Schedule backlogs by one rule and print every metric."""
    console = console_beside(json_target)
    require_targets(save=save_path, json=json_target, csv=csv_path)
    clock = make_clock(server, deadline_s)
    policies.make(policy)
    inst = make_backlog(workload, trace, requests, instances, seed, capacity, server, drop_invalid)
    priority = policies.prioritize(inst, policy)
    sched = simulate_rule(
        inst, priority, discipline=discipline, admission=admission, max_num_seqs=max_num_seqs
    )
    require_ok(sched, f"rule {policy!r}")
    found = Comparison(
        metrics={policy: metrics.summary(inst, sched, clock, deadline_s)},
        num_requests=np.asarray(inst.num_requests),
        kv_capacity=np.asarray(inst.kv_capacity),
    )
    console.print(_metrics_table(policy, found))
    if save_path is not None:
        write_whole(save_path, sched.save)
        console.print(f"schedule saved to {save_path}", soft_wrap=True)
    _save_numbers(found, csv_path, json_target, console, manifest(context.obj, seed))


def _metrics_table(policy: str, found: Comparison) -> Table:
    metrics = list(found.metrics[policy])
    means = [written(found.estimate(metric)[policy]) for metric in metrics]
    layout = Layout(
        title=f"{policy}: {found.description}",
        columns=[Column("metric", metrics), Column("mean", means)],
        caption=interval_caption(found.interval_name),
    )
    return rich_table(layout)


def _save_numbers(
    found: Comparison,
    csv_path: Path | None,
    json_target: str | None,
    console: Console,
    about: dict[str, Any],
) -> None:
    if csv_path is not None:
        save_csv(csv_path, found.records(), console)
    if json_target is not None:
        save_json(json_target, {"manifest": about, **found.to_dict()}, console)
