"""The command ``bound``."""

from __future__ import annotations

import time
from typing import Annotated, Any, NamedTuple

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import all_bounds, make_backlog
from jaxsched.cli._output import console_beside, require_targets, save_csv, save_json
from jaxsched.cli._tuned import warn_of_other_backlogs

_BOUNDS = ",".join(names.BOUNDS)


def bound(
    context: typer.Context,
    backlog: options.Backlog,
    server: options.Server,
    bound_names: Annotated[
        str,
        options.rules(
            *("--bounds", f"With commas between ({_BOUNDS}).", "A,B"),
            complete=names.some_of(*names.BOUNDS),
        ),
    ] = _BOUNDS,
    policy: options.Policy = "smallest_volume",
    json_target: options.Json = None,
    csv_path: options.Csv = None,
) -> None:
    """Prove what no schedule can beat, and say how far a rule is from it."""
    console = console_beside(json_target, csv_path)
    require_targets(json=json_target, csv=csv_path)
    chosen = [name.strip() for name in bound_names.split(",") if name.strip()]
    if not chosen:
        raise ValueError(f"--bounds names none; expected some of {_BOUNDS}")
    bounds = {name: all_bounds()[name] for name in chosen}
    js.policies.make(policy)  # or an error, before any work
    inst = make_backlog(backlog, server.server, console)
    warn_of_other_backlogs([policy], backlog, inst)
    ruled = js.compare(inst, [policy], bound=None, **server.admits)
    proofs = {name: _proved(prove, inst, policy, ruled) for name, prove in bounds.items()}
    console.print(_table(policy, ruled, proofs))
    records = [
        {
            "bound": name,
            "mean_latency_rounds": proof.lower.mean,
            "gap": proof.gap.mean,
            "seconds_an_instance": proof.seconds_an_instance,
        }
        for name, proof in proofs.items()
    ]
    if csv_path is not None:
        save_csv(csv_path, records, console)
    if json_target is not None:
        content = {"policy": policy, "bounds": records}
        save_json(json_target, context.obj, backlog.seed, content, console)


class _Proof(NamedTuple):
    """What a bound says: no mean latency is below, the rule is so far above, and what it took."""

    lower: Any
    gap: Any
    seconds_an_instance: float


def _proved(prove: Any, inst: js.Instance, policy: str, ruled: js.Comparison) -> _Proof:
    import jax
    import numpy as np

    from jaxsched.metrics.statistics import Estimate, estimate_means

    begin = time.perf_counter()
    total = prove(jax.tree.map(np.asarray, inst))
    seconds = time.perf_counter() - begin
    lower, gap = (
        Estimate(*map(float, estimate_means(values.reshape(-1), None)))
        for values in (
            total / ruled.num_requests,
            ruled.metrics[policy]["total_latency_rounds"] / total - 1,
        )
    )
    return _Proof(lower, gap, seconds / ruled.num_requests.size)


def _table(policy: str, ruled: js.Comparison, proofs: dict[str, _Proof]) -> Any:
    from jaxsched._lib.layout import Column, Layout
    from jaxsched.show.tables import FittedTable, interval_caption, written

    lower, gap, seconds = zip(*proofs.values(), strict=True)
    layout = Layout(
        title=ruled.description,
        columns=[
            Column("bound", list(proofs)),
            Column("mean latency\nat least\n(rounds)", [written(each) for each in lower]),
            Column(f"{policy}\nis above by", [written(each, is_share=True) for each in gap]),
            Column("proof\ntakes\n(s each)", [f"{each:.2g}" for each in seconds]),
        ],
        caption=interval_caption(ruled.interval_name),
    )
    return FittedTable(layout)
