"""The command ``simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import make_backlog, make_clock
from jaxsched.cli._output import console_beside, require_targets, save, save_csv, save_json
from jaxsched.cli._tuned import warn_of_other_backlogs


def simulate(
    context: typer.Context,
    backlog: options.Backlog,
    server: options.Server,
    policy: options.Policy = "smallest_volume",
    deadline_s: options.DeadlineS = None,
    save_path: Annotated[
        Path | None, options.output("--save", "The schedule, for js.Schedule.load.", "FILE.npz")
    ] = None,
    json_target: options.Json = None,
    csv_path: options.Csv = None,
) -> None:
    """Schedule backlogs by one rule and print every metric."""
    from jaxsched.model.schedule import require_ok

    console = console_beside(json_target, csv_path, save_path)
    require_targets(save=save_path, json=json_target, csv=csv_path)
    clock = make_clock(server.server, deadline_s)
    js.policies.make(policy)  # or an error, before any work
    inst = make_backlog(backlog, server.server, console)
    warn_of_other_backlogs([policy], backlog, inst)
    sched = js.simulate(inst, js.prioritize(inst, policy), **server.admits)
    require_ok(sched, f"rule {policy!r}")
    measured = _measured(policy, inst, js.metrics.summary(inst, sched, clock, deadline_s))
    console.print(_table(policy, measured))
    if save_path is not None:
        save(save_path, sched.save, "schedule", console)
    if csv_path is not None:
        save_csv(csv_path, measured.records(), console)
    if json_target is not None:
        save_json(json_target, context.obj, backlog.seed, measured.to_dict(), console)


def _measured(policy: str, inst: js.Instance, metrics: dict[str, Any]) -> js.Comparison:
    """Make the comparison of one rule, which knows how to estimate means."""
    import numpy as np

    return js.Comparison(
        metrics={policy: metrics},
        num_requests=np.asarray(inst.num_requests),
        kv_capacity=np.asarray(inst.kv_capacity),
    )


def _table(policy: str, measured: js.Comparison) -> Any:
    from jaxsched._lib.layout import Column, Layout
    from jaxsched.show.tables import FittedTable, interval_caption, written

    metrics = list(measured.metrics[policy])
    means = [written(measured.estimate(metric)[policy]) for metric in metrics]
    layout = Layout(
        title=f"{policy}: {measured.description}",
        columns=[Column("metric", metrics), Column("mean", means)],
        caption=interval_caption(measured.interval_name),
    )
    return FittedTable(layout)
