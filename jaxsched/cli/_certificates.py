"""The commands about what is possible: ``bound`` and ``improve``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.table import Table

from jaxsched import policies
from jaxsched._lib.files import write_whole
from jaxsched._lib.layout import Column, Layout
from jaxsched._lib.manifest import manifest
from jaxsched._lib.names import hint
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import make_backlog, make_clock, picture_title
from jaxsched.cli._output import (
    console_beside,
    require_targets,
    save_csv,
    save_json,
    save_plot,
)
from jaxsched.engine.simulate import simulate as simulate_rule
from jaxsched.metrics.statistics import Estimate, estimate_means
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule
from jaxsched.search.improve import Improvement
from jaxsched.search.improve import improve as search
from jaxsched.show import plots
from jaxsched.show.tables import interval_caption, rich_table, written
from jaxsched.studies.comparing.compare import BOUNDS
from jaxsched.studies.comparing.compare import compare as compare_rules

_DEFAULT_BOUNDS = ",".join(BOUNDS)


def bound(
    context: typer.Context,
    workload: options.Workload = None,
    trace: options.TraceFile = None,
    requests: options.Requests = None,
    instances: options.Instances = None,
    seed: options.Seed = 0,
    capacity: options.Capacity = None,
    drop_invalid: options.DropInvalid = False,
    bound_names: Annotated[
        str,
        options.scheduling("--bounds", f"With commas between ({_DEFAULT_BOUNDS}).", "A,B"),
    ] = _DEFAULT_BOUNDS,
    policy: Annotated[
        str, options.scheduling("--policy", "How far this rule is from them (svf).", "NAME")
    ] = "smallest_volume",
    json_target: options.Json = None,
    csv_path: options.Csv = None,
) -> None:
    """Prove what no schedule can beat, and say how far a rule is from it."""
    console = console_beside(json_target)
    require_targets(json=json_target, csv=csv_path)
    names = [name.strip() for name in bound_names.split(",") if name.strip()]
    if not names:
        raise ValueError(f"--bounds names none; expected some of {_DEFAULT_BOUNDS}")
    for name in names:
        _require_bound(name)
    policies.info(policy)
    inst = make_backlog(workload, trace, requests, instances, seed, capacity, None, drop_invalid)
    found = compare_rules(inst, [policy], bound=None)
    total = found.metrics[policy]["total_latency_rounds"]

    rows = []
    for name in names:
        begin = time.perf_counter()
        value = BOUNDS[name](jax.tree.map(np.asarray, inst))
        seconds = time.perf_counter() - begin
        lower, gap = (
            Estimate(*map(float, estimate_means(values.reshape(-1), None)))
            for values in (value / found.num_requests, total / value - 1)
        )
        rows.append((name, lower, gap, seconds / found.num_requests.size))
    console.print(_bounds_table(policy, found.description, found.interval_name, rows))
    records = [
        {
            "bound": name,
            "mean_latency_rounds": lower.mean,
            "gap": gap.mean,
            "seconds_an_instance": seconds,
        }
        for name, lower, gap, seconds in rows
    ]
    if csv_path is not None:
        save_csv(csv_path, records, console)
    if json_target is not None:
        about = manifest(context.obj, seed)
        payload = {"manifest": about, "policy": policy, "bounds": records}
        save_json(json_target, payload, console)


def _bounds_table(
    policy: str, description: str, interval_name: str | None, rows: list[Any]
) -> Table:
    names, lower, gap, seconds = zip(*rows, strict=True)
    layout = Layout(
        title=f"{description}; times in rounds",
        columns=[
            Column("bound", names),
            Column("no mean latency\nis below", [written(estimate) for estimate in lower]),
            Column(f"{policy}\nis above by", [written(each, is_share=True) for each in gap]),
            Column("s an\ninstance", [f"{each:.2g}" for each in seconds]),
        ],
        caption=interval_caption(interval_name),
    )
    return rich_table(layout)


def improve(
    context: typer.Context,
    workload: options.Workload = None,
    trace: options.TraceFile = None,
    requests: options.Requests = None,
    instances: Annotated[
        int | None, options.backlog("--instances", "Instances (1; of a trace, samples).", "N")
    ] = None,
    seed: options.Seed = 0,
    capacity: options.Capacity = None,
    drop_invalid: options.DropInvalid = False,
    policy: Annotated[
        str, options.scheduling("--policy", "The rule to start from (smallest_volume).", "NAME")
    ] = "smallest_volume",
    steps: Annotated[
        int, options.scheduling("--steps", "Steps of each chain of the search (2000).", "N")
    ] = 2000,
    chains: Annotated[int, options.scheduling("--chains", "Chains an instance (64).", "N")] = 64,
    bound_name: Annotated[
        str, options.scheduling("--bound", "price (default), volume, mean_busy.", "NAME")
    ] = "price",
    discipline: options.Discipline = "strict",
    admission: options.Admission = "look_ahead",
    max_num_seqs: options.MaxNumSeqs = None,
    server: options.Server = None,
    save_path: Annotated[
        Path | None, options.output("--save", "The schedule, for js.Schedule.load.", "FILE.npz")
    ] = None,
    json_target: options.Json = None,
    csv_path: options.Csv = None,
    plot_path: Annotated[
        Path | None, options.output("--plot", "Cost by steps, and memory use.", "FILE")
    ] = None,
) -> None:
    """Search for a better order than a rule gives, and say how far from optimal it is."""
    console = console_beside(json_target)
    require_targets(save=save_path, json=json_target, csv=csv_path, plot=plot_path)
    _require_bound(bound_name)
    policies.info(policy)
    clock = make_clock(server, None)
    if workload is not None or trace is None:
        instances = instances or 1
    inst = make_backlog(workload, trace, requests, instances, seed, capacity, server, drop_invalid)
    how: dict[str, Any] = {
        "discipline": discipline,
        "admission": admission,
        "max_num_seqs": max_num_seqs,
    }
    priority = policies.prioritize(inst, policy)
    before = simulate_rule(inst, priority, **how)
    lower = BOUNDS[bound_name](jax.tree.map(np.asarray, inst))
    key = jax.random.key(seed)
    better = search(inst, priority, num_steps=steps, num_chains=chains, key=key, bound=lower, **how)

    def known_bound(_: Instance) -> np.ndarray:
        return lower

    known_bound.__name__ = bound_name
    schedules: dict[str, Any] = {policy: before, "improved": better.schedule}
    found = compare_rules(inst, schedules, policy, known_bound, clock)
    console.print(found.table())
    if save_path is not None:
        write_whole(save_path, better.schedule.save)
        console.print(f"schedule saved to {save_path}", soft_wrap=True)
    if plot_path is not None:
        title = picture_title(workload, trace, server)
        save_plot(plot_path, lambda: _picture(inst, policy, before, better, lower, title), console)
    if csv_path is not None:
        save_csv(csv_path, found.records(), console)
    if json_target is not None:
        history = _mean_latency(inst, better.history)
        about = manifest(context.obj, seed)
        payload = {"manifest": about, **found.to_dict()}
        payload["history"] = {
            "steps": better.steps.tolist(),
            "mean_latency_rounds": history.tolist(),
        }
        save_json(json_target, payload, console)


def _require_bound(name: str) -> None:
    if name not in BOUNDS:
        raise ValueError(f"no bound is called {name!r}; {hint(name, BOUNDS)}")


def _mean_latency(inst: Instance, total: np.ndarray) -> np.ndarray:
    """Mean over instances of the mean latencies behind total latencies ``[.., H]``, ``[H]``."""
    num_requests = np.asarray(inst.num_requests)[..., None]
    return (total / num_requests).reshape(-1, total.shape[-1]).mean(axis=0)


def _picture(
    inst: Instance,
    policy: str,
    before: Schedule,
    better: Improvement,
    lower: np.ndarray,
    title: str,
) -> Any:
    """Draw the search above, and the memory use of the first instance below."""
    above, below = plots.stacked_axes(2)
    least = float(_mean_latency(inst, lower[..., None])[0])
    count = np.size(inst.kv_capacity)
    plots.search(
        better.steps,
        _mean_latency(inst, better.history),
        bound=least,
        title=f"{title}, mean of {count} instances" if count > 1 else title,
        ax=above,
    )
    leading = np.ndim(inst.kv_capacity)
    first, old, new = (_first(tree, leading) for tree in (inst, before, better.schedule))
    schedules = {policy: old, "improved": new}
    plots.memory(first, schedules, title="first instance" if count > 1 else "", ax=below)
    return above


def _first(tree: Any, leading: int) -> Any:
    """Take the first instance of all that ``leading`` axes hold."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[leading:])[0], tree)
