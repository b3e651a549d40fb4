"""The command about how much memory is enough: ``capacity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jaxsched._lib.manifest import manifest
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import make_backlog, make_clock, picture_title, policy_list
from jaxsched.cli._output import console_beside, require_targets, save_json, save_plot
from jaxsched.model.instance import MAX_INT32
from jaxsched.studies.capacity.plan_capacity import plan_capacity

_DEFAULT_POLICIES = "fcfs,smallest_volume"


def capacity(
    context: typer.Context,
    target: Annotated[
        str,
        options.scheduling("--target", "mean, p95, p99 or makespan, and at most what.", "mean=400"),
    ],
    workload: options.Workload = None,
    trace: options.TraceFile = None,
    requests: options.Requests = None,
    instances: options.Instances = None,
    seed: options.Seed = 0,
    kv_capacity: Annotated[
        str | None,
        options.backlog("--capacity", "KV tokens a server, for --vary servers.", "N|server"),
    ] = None,
    drop_invalid: options.DropInvalid = False,
    vary: Annotated[
        str,
        options.scheduling("--vary", "kv_capacity (default), servers or preset.", "NAME"),
    ] = "kv_capacity",
    policy_names: Annotated[
        str,
        options.scheduling("--policies", f"Rules or file:RULE ({_DEFAULT_POLICIES}).", "A,B"),
    ] = _DEFAULT_POLICIES,
    bound: Annotated[
        str, options.scheduling("--bound", "volume (default), mean_busy, price, none.", "NAME")
    ] = "volume",
    tolerance: Annotated[
        int, options.scheduling("--tolerance", "How exact to be, in tokens or servers (1).", "N")
    ] = 1,
    discipline: options.Discipline = "strict",
    admission: options.Admission = "look_ahead",
    max_num_seqs: options.MaxNumSeqs = None,
    server: options.Server = None,
    json_target: options.Json = None,
    plot_path: Annotated[
        Path | None, options.output("--plot", "Picture of latency by capacity.", "FILE")
    ] = None,
) -> None:
    """Find the least memory, or the fewest servers, with which rules meet a target."""
    console = console_beside(json_target)
    require_targets(json=json_target, plot=plot_path)
    rules = policy_list(policy_names)
    clock = make_clock(server, None)
    if vary == "preset" and clock is not None:
        raise ValueError("--vary preset tries every server; leave --server out")
    if vary != "servers":
        if kv_capacity is not None:
            raise ValueError("--capacity is what is looked for; leave it out, or --vary servers")
        # A trace is read whatever its lengths; only what is tried later has to hold them.
        kv_capacity = None if trace is None else str(MAX_INT32)
    inst = make_backlog(
        workload, trace, requests, instances, seed, kv_capacity, server, drop_invalid
    )
    plan = plan_capacity(
        inst,
        rules,
        _parsed(target),
        vary=vary,  # pyright: ignore[reportArgumentType]  # checked there
        clock=clock,
        bound=None if bound == "none" else bound,
        tolerance=tolerance,
        discipline=discipline,  # pyright: ignore[reportArgumentType]
        admission=admission,  # pyright: ignore[reportArgumentType]
        max_num_seqs=max_num_seqs,
    )
    console.print(plan.table())
    if plot_path is not None:
        title = picture_title(workload, trace, server)
        save_plot(plot_path, lambda: plan.plot(title=title), console)
    if json_target is not None:
        save_json(json_target, {"manifest": manifest(context.obj, seed), **plan.to_dict()}, console)


def _parsed(target: str) -> tuple[str, float]:
    """Split ``mean=400``."""
    metric, _, value = target.partition("=")
    try:
        return metric.strip(), float(value)
    except ValueError:
        raise ValueError(
            f"--target is {target!r}; expected a metric and a number, such as mean=400"
        ) from None
