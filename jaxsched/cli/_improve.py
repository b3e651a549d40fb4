"""The command ``improve``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import all_bounds, bound_or_none, make_backlog, make_clock
from jaxsched.cli._output import (
    console_beside,
    require_targets,
    save,
    save_csv,
    save_json,
    save_plot,
)
from jaxsched.cli._tuned import warn_of_other_backlogs


def improve(
    context: typer.Context,
    backlog: options.OneBacklog,
    server: options.Server,
    policy: options.Policy = "smallest_volume",
    num_steps: Annotated[
        int, options.rules("--steps", "Steps of each chain of the search (2000).", "N")
    ] = 2000,
    num_chains: Annotated[int, options.rules("--chains", "Chains an instance (64).", "N")] = 64,
    bound: Annotated[str, options.bound("price")] = "price",
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
    import jax

    from jaxsched.search.improve import require_searchable

    console = console_beside(json_target, csv_path, plot_path, save_path)
    require_targets(save=save_path, json=json_target, csv=csv_path, plot=plot_path)
    bound_name = bound_or_none(bound)
    js.policies.make(policy)  # or an error, before any work
    clock = make_clock(server.server)
    effort = num_steps, num_chains
    require_searchable(backlog.num_requests or 1, backlog.batch or 1, *effort)  # before any work
    if backlog.trace is None and backlog.batch is None:
        backlog = dataclasses.replace(backlog, batch=1)
    inst = make_backlog(backlog, server.server, console)
    require_searchable(inst.prompt_tokens.shape[-1], inst.kv_capacity.size, *effort)
    warn_of_other_backlogs([policy], backlog, inst)
    priority = js.prioritize(inst, policy)
    before = js.simulate(inst, priority, **server.admits)
    lower = _evaluated(bound_name, inst)
    better = js.improve(
        inst,
        priority,
        num_steps=num_steps,
        num_chains=num_chains,
        key=jax.random.key(backlog.seed),
        bound=lower,
        **server.admits,
    )
    schedules: dict[str, Any] = {policy: before, "improved": better.schedule}
    comparison = js.compare(inst, schedules, policy, _known(bound_name, lower), clock)
    console.print(comparison.table())
    if save_path is not None:
        save(save_path, better.schedule.save, "schedule", console)
    if plot_path is not None:
        title = backlog.title(server.server)
        save_plot(plot_path, lambda: _picture(inst, policy, before, better, lower, title), console)
    if csv_path is not None:
        save_csv(csv_path, comparison.records(), console)
    if json_target is not None:
        history = {
            "steps": better.steps.tolist(),
            "mean_latency_rounds": _mean_latency(inst, better.history).tolist(),
        }
        content = {**comparison.to_dict(), "history": history}
        save_json(json_target, context.obj, backlog.seed, content, console)


def _evaluated(bound_name: str | None, inst: js.Instance) -> Any:
    """Lower bounds on total latency ``[..]``, or None."""
    import jax
    import numpy as np

    if bound_name is None:
        return None
    return all_bounds()[bound_name](jax.tree.map(np.asarray, inst))


def _known(bound_name: str | None, lower: Any) -> Any:
    """Make the bound, evaluated already, something that ``compare`` takes."""
    if bound_name is None:
        return None

    def known(inst: js.Instance) -> Any:
        return lower

    known.__name__ = bound_name
    return known


def _mean_latency(inst: js.Instance, total: Any) -> Any:
    """Mean over instances of the mean latencies behind total latencies ``[.., H]``, ``[H]``."""
    import numpy as np

    num_requests = np.asarray(inst.num_requests)[..., None]
    return (total / num_requests).reshape(-1, total.shape[-1]).mean(axis=0)


def _picture(
    inst: js.Instance,
    policy: str,
    before: js.Schedule,
    better: js.Improvement,
    lower: Any,
    title: str,
) -> Any:
    """Draw the search above, and the memory use of the first instance below."""
    import numpy as np

    above, below = js.plots.stacked_axes(2)
    count = np.size(inst.kv_capacity)
    js.plots.search(
        better.steps,
        _mean_latency(inst, better.history),
        bound=None if lower is None else float(_mean_latency(inst, lower[..., None])[0]),
        title=f"{title}, mean of {count} instances" if count > 1 else title,
        ax=above,
    )
    leading = np.ndim(inst.kv_capacity)
    first, old, new = (_first(tree, leading) for tree in (inst, before, better.schedule))
    schedules = {policy: old, "improved": new}
    js.plots.memory(first, schedules, title="first instance" if count > 1 else "", ax=below)
    return above


def _first(tree: Any, leading: int) -> Any:
    """Take the first instance of all that ``leading`` axes hold."""
    import jax
    import numpy as np

    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[leading:])[0], tree)
