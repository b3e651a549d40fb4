"""The command that makes a rule better: ``tune``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console

from jaxsched import policies
from jaxsched._lib.files import write_whole
from jaxsched._lib.manifest import manifest
from jaxsched._lib.names import hint
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import DEFAULT_INSTANCES, make_backlog, make_clock
from jaxsched.cli._output import console_beside, require_targets, save_json
from jaxsched.model.instance import Instance
from jaxsched.tuning import Objective, Tuned, evaluate, mean_latency, p99, p_norm
from jaxsched.tuning import tune as tune_rule

_OBJECTIVES = {"mean_latency": mean_latency, "p_norm": p_norm, "p99": p99}
_YARDSTICK = "smallest_volume"
_FEATURES = ("log_prompt", "log_output", "log_total", "log_volume", "prompt_share", "output_share")

_option = functools.partial(options.option, "Tuning")


def tune(
    context: typer.Context,
    rule_path: Annotated[
        Path, typer.Argument(metavar="RULE.json", help="Where the tuned rule goes (or .npz).")
    ],
    workload: options.Workload = None,
    trace: options.TraceFile = None,
    requests: options.Requests = None,
    instances: options.Instances = None,
    seed: options.Seed = 0,
    capacity: options.Capacity = None,
    drop_invalid: options.DropInvalid = False,
    policy: Annotated[
        str, _option("--policy", "A rule with parameters, or file:RULE (linear_score).", "NAME")
    ] = "linear_score",
    features: Annotated[
        str | None,
        _option("--features", "Its features; log_volume starts as smallest_volume.", "A,B"),
    ] = None,
    objective_name: Annotated[
        str, _option("--objective", "mean_latency (default), p_norm (2) or p99.", "NAME")
    ] = "mean_latency",
    server: options.Server = None,
    steps: Annotated[int, _option("--steps", "Updates to make (200).", "N")] = 200,
    minibatch: Annotated[int | None, _option("--minibatch", "Instances a step (all).", "N")] = None,
    patience: Annotated[
        int | None, _option("--patience", "Stop after N validations with no gain.", "N")
    ] = None,
    checkpoint_dir: Annotated[
        Path | None, _option("--checkpoint", "Keep the state here and go on from it.", "FOLDER")
    ] = None,
    json_target: options.Json = None,
) -> None:
    """Tune a rule's parameters on one half of the backlogs and judge it on the other."""
    console = console_beside(json_target)
    require_targets(RULE=rule_path, json=json_target)
    if rule_path.suffix not in (".json", ".npz"):
        raise ValueError(f"RULE {rule_path}: expected a file name that ends in .json or .npz")
    rule = _rule(policy, features)
    objective = _objective(objective_name, server)
    train, held_out = _halves(
        make_backlog(
            workload,
            trace,
            requests,
            2 * (DEFAULT_INSTANCES if instances is None else instances),
            seed,
            capacity,
            server,
            drop_invalid,
        )
    )
    found = tune_rule(
        rule,
        train=train,
        validation=held_out,
        key=jax.random.key(seed),
        objective=objective,
        steps=steps,
        minibatch_size=minibatch,
        patience=patience,
        checkpoint_dir=checkpoint_dir,
    )
    write_whole(rule_path, lambda path: policies.save(found.rule, path))
    yardstick = float(evaluate(held_out, _YARDSTICK, objective).mean())
    _print(console, found, objective_name, "rounds" if server is None else "s", yardstick)
    console.print(f"rule saved to {rule_path}; --policies file:{rule_path} uses it", soft_wrap=True)
    if json_target is not None:
        about = manifest(context.obj, seed)
        save_json(json_target, {"manifest": about, **_numbers(found, yardstick)}, console)


def _rule(policy: str, features: str | None) -> policies.Rule:
    """Make the rule to start from: a linear one that knows the volume starts as volume first."""
    options: dict[str, Any] = {}
    if features is not None:
        if "features" not in policies.info(policy).options:
            raise ValueError(f"--features is given but policy {policy!r} takes none")
        options["features"] = [name.strip() for name in features.split(",")]
    elif policy in ("linear_score", "mlp_score"):
        options["features"] = _FEATURES
    if policy == "linear_score":
        options["weights"] = [name == "log_volume" for name in options["features"]]
    return policies.make(policy, **options)


def _objective(name: str, server: str | None) -> Objective:
    if name not in _OBJECTIVES:
        raise ValueError(f"no objective is called {name!r}; {hint(name, _OBJECTIVES)}")
    clock = make_clock(server, None)
    return _OBJECTIVES[name] if clock is None else functools.partial(_OBJECTIVES[name], clock=clock)


def _halves(inst: Instance) -> tuple[Instance, Instance]:
    """Split instances ``[2 B, n]``, which are independent draws, in two."""
    half = inst.prompt_tokens.shape[0] // 2
    first = jax.tree.map(lambda leaf: leaf[:half], inst)
    return first, jax.tree.map(lambda leaf: leaf[half:], inst)


def _print(console: Console, found: Tuned, name: str, unit: str, yardstick: float) -> None:
    history = found.history
    best = history.best[-1]
    console.print(f"{name} on held-out backlogs, {unit}")
    console.print(f"  at the start      {history.validation[0]:.6g}")
    console.print(f"  after {history.best_step:>5} steps {best:.6g}")
    console.print(f"  {_YARDSTICK:<17} {yardstick:.6g} ({best / yardstick - 1:+.2%} tuned)")


def _numbers(found: Tuned, yardstick: float) -> dict[str, Any]:
    history = {
        name: np.asarray(values).tolist() for name, values in found.history._asdict().items()
    }
    return {"history": history, "best_step": found.history.best_step, _YARDSTICK: yardstick}
