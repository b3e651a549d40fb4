"""The command ``tune``."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import DEFAULT_CAPACITY, DEFAULT_INSTANCES, make_backlog, make_clock
from jaxsched.cli._output import console_beside, require_targets, save, save_json
from jaxsched.cli._tuned import described

if TYPE_CHECKING:
    from rich.console import Console

_YARDSTICK = "smallest_volume"
_FEATURES = ("log_prompt", "log_output", "log_total", "log_volume", "prompt_share", "output_share")

_OBJECTIVES_TEXT = (
    "mean_latency (default), weighted_latency, p_norm, p99_latency; goodput, attainment; "
    "mean_ or p99_ttft, _tpot, _e2e, _slowdown."
)
_option = functools.partial(options.option, "Tuning")


@dataclasses.dataclass(frozen=True)
class Clock(options.Clock):
    """Whose seconds count, or what serves the requests; the help has one panel for all."""

    server: Annotated[
        str | None,
        _option(
            *("--server", "What serves; of a backlog, whose seconds.", "NAME"),
            complete=names.one_of(*names.SERVERS),
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class Online:
    """What requests at a server need, where the objective is one of service."""

    rate: Annotated[
        float | None,
        options.backlog("--rate", "Requests a second, for goodput and the like.", "R"),
    ] = None
    vary: Annotated[
        list[str] | None,
        _option("--vary", "Settings to tune beside it; repeatable.", "NAME=A,B"),
    ] = None
    ttft_slo_s: Annotated[
        float | None, _option("--ttft-slo-s", "Target for the time to first token.", "SECONDS")
    ] = None
    tpot_slo_s: Annotated[
        float | None, _option("--tpot-slo-s", "Target for the time per output token.", "SECONDS")
    ] = None
    e2e_slo_s: Annotated[
        float | None, _option("--e2e-slo-s", "Target for the time to the last token.", "SECONDS")
    ] = None

    def given(self) -> list[str]:
        """Return the flags that were given."""
        fields = dataclasses.fields(self)
        return [field.name for field in fields if getattr(self, field.name) is not None]


def tune(
    context: typer.Context,
    rule_path: Annotated[
        Path, typer.Argument(metavar="RULE.json", help="Where the tuned rule goes (or .npz).")
    ],
    backlog: options.Backlog,
    clock: Clock,
    online: Online,
    policy: Annotated[
        str,
        _option(
            *("--policy", "A rule or file:RULE (linear_score).", "NAME"),
            complete=names.rule,
        ),
    ] = "linear_score",
    features: Annotated[
        str | None,
        _option("--features", "Its features; log_volume starts at 1.", "A,B"),
    ] = None,
    objective_name: Annotated[
        str,
        _option(
            *("--objective", _OBJECTIVES_TEXT, "NAME"),
            complete=names.one_of(*names.OBJECTIVES, *names.SERVICE_OBJECTIVES),
        ),
    ] = "mean_latency",
    steps: Annotated[int, _option("--steps", "Updates to make (200).", "N")] = 200,
    minibatch_size: Annotated[
        int | None, _option("--minibatch", "Instances a step (all).", "N")
    ] = None,
    patience: Annotated[
        int | None, _option("--patience", "Stop after N validations with no gain.", "N")
    ] = None,
    checkpoint_dir: Annotated[
        Path | None, _option("--checkpoint", "Keep the state here and go on from it.", "FOLDER")
    ] = None,
    json_target: Annotated[
        str | None, _option("--json", "Results with a manifest; - is stdout.", "FILE|-")
    ] = None,
) -> None:
    """Tune a rule on some of the backlogs and judge it on others."""
    import jax

    console = console_beside(json_target, rule_path)
    require_targets(RULE=rule_path, json=json_target)
    if rule_path.suffix not in (".json", ".npz"):
        raise ValueError(f"RULE {rule_path}: expected a file name that ends in .json or .npz")
    descent = {
        "steps": steps,
        "minibatch_size": minibatch_size,
        "patience": patience,
        "checkpoint_dir": checkpoint_dir,
    }
    _require_objective(objective_name)
    if objective_name in names.SERVICE_OBJECTIVES:
        from jaxsched.cli._tune_online import tune_online

        rule = _rule(policy, features, (*_FEATURES, "arrival_s"))
        numbers = tune_online(
            *(rule_path, rule, objective_name, backlog, clock.server, online, descent, console)
        )
        if json_target is not None:
            save_json(json_target, context.obj, backlog.seed, numbers, console)
        return
    if given := online.given():
        flag = f"--{given[0].replace('_', '-')}"
        raise ValueError(
            f"{flag} is about requests at a server, and --objective {objective_name} is of a "
            f"backlog; expected one of {', '.join(names.SERVICE_OBJECTIVES)}"
        )
    rule = _rule(policy, features, _FEATURES)
    objective = _objective(objective_name, clock.server)
    train, held_out = _halves(backlog, clock.server, console)
    tuned = js.tune(
        rule,
        train=train,
        validation=held_out,
        key=jax.random.key(backlog.seed),
        objective=objective,
        **descent,
    )
    yardstick = float(js.tuning.evaluate(held_out, _YARDSTICK, objective).mean())
    unit = "rounds" if clock.server is None else "s"
    console.print(_table(tuned, held_out, f"{objective_name}\n({unit})", yardstick))
    console.print(progress_text(tuned, steps, patience))
    about = described(backlog, train) | {"server": clock.server, "objective": objective_name}
    save(
        *(rule_path, lambda path: js.policies.save(tuned.rule, path, tuned_on=about)),
        *("rule", console),
    )
    console.print(f"--policies file:{rule_path} uses it", soft_wrap=True)
    say_export(rule_path, tuned.rule, clock.server, backlog.kv_capacity, console)
    if json_target is not None:
        save_json(json_target, context.obj, backlog.seed, _numbers(tuned, yardstick), console)


def _rule(policy: str, features: str | None, usual: tuple[str, ...]) -> Any:
    """Make the rule to start from: a linear one that knows the volume starts as volume first."""
    given: dict[str, Any] = {}
    if features is not None:
        if "features" not in js.policies.info(policy).options:
            raise ValueError(f"--features is given but policy {policy!r} takes none")
        given["features"] = [name.strip() for name in features.split(",")]
    elif policy in ("linear_score", "mlp_score"):
        given["features"] = usual
    if policy == "linear_score":
        given["weights"] = [name == "log_volume" for name in given["features"]]
    return js.policies.make(policy, **given)


def _require_objective(name: str) -> None:
    from jaxsched._lib.errors import UnknownName

    known = (*js.tuning.OBJECTIVES, *names.SERVICE_OBJECTIVES)
    if name not in known and name not in js.tuning.OBJECTIVES:
        raise UnknownName("objective", name, known, ["p99"])


def _objective(name: str, server: str | None) -> Any:
    objective: Any = js.tuning.OBJECTIVES[name]
    clock = make_clock(server)
    return objective if clock is None else functools.partial(objective, clock=clock)


def _halves(
    backlog: options.Backlog, server: str | None, console: Console
) -> tuple[js.Instance, js.Instance]:
    """Draw twice as many instances as asked for, which are independent, and split them in two."""
    half = DEFAULT_INSTANCES if backlog.batch is None else backlog.batch
    both = make_backlog(dataclasses.replace(backlog, batch=2 * half), server, console)
    return both[:half], both[half:]


def _table(tuned: js.tuning.Tuned, held_out: js.Instance, metric: str, yardstick: float) -> Any:
    import numpy as np

    from jaxsched._lib.layout import Column, Layout
    from jaxsched._lib.words import counted
    from jaxsched.show.tables import FittedTable

    values = {
        _YARDSTICK: yardstick,
        "the rule at the start": tuned.history.validation[0],
        "the rule when tuned": tuned.history.best[-1],
    }
    changes = ["-", *(f"{value / yardstick - 1:+.2%}" for value in list(values.values())[1:])]
    count = counted(int(np.size(held_out.kv_capacity)), "held-out instance")
    layout = Layout(
        title=f"mean of {count}; lower is better",
        columns=[
            Column("rule", list(values)),
            Column(metric, [f"{value:.6g}" for value in values.values()]),
            Column(f"change\nvs {_YARDSTICK}", changes),
        ],
        caption="",
    )
    return FittedTable(layout)


def progress_text(tuned: js.tuning.Tuned, steps: int, patience: int | None) -> str:
    """Say how many steps ran, and which of them gave the rule."""
    from jaxsched._lib.words import counted

    ran, best = len(tuned.history.train), tuned.history.best_step
    stopped = f" of {steps}, stopped by --patience {patience}" if ran < steps else ""
    given = f"step {best} was best" if best else "none was better than the start, which is kept"
    return f"\nran {counted(ran, 'step')}{stopped}; {given}"


def say_export(
    rule_path: Path, rule: Any, server: str | None, capacity: str | None, console: Console
) -> None:
    """Say how an engine gets the rule, if it can."""
    if isinstance(rule, js.policies.DynamicRule):
        return
    flags = {"--server": server, "--capacity": capacity or (None if server else DEFAULT_CAPACITY)}
    given = "".join(f" {flag} {value}" for flag, value in flags.items() if value is not None)
    use = f"jaxsched export --policy file:{rule_path} --out priority.py{given}"
    console.print(f"{use} writes it for vLLM", soft_wrap=True)


def _numbers(tuned: js.tuning.Tuned, yardstick: float) -> dict[str, Any]:
    import numpy as np

    history = {
        name: np.asarray(values).tolist() for name, values in tuned.history._asdict().items()
    }
    del history["setting"]  # a backlog has no settings
    return {"history": history, "best_step": tuned.history.best_step, _YARDSTICK: yardstick}
