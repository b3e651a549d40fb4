"""``jaxsched tune`` where requests arrive over time: rule and settings of a server."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jaxsched as js
from jaxsched.cli._options import DEFAULT_REQUESTS, Backlog
from jaxsched.cli._output import save
from jaxsched.cli._serve import ANY_CAPACITY, NamedServer, Streams, make_requests, make_server
from jaxsched.cli._tuned import described
from jaxsched.cli._vary import varied

if TYPE_CHECKING:
    from rich.console import Console

_DEFAULT_STREAMS = 16
_YARDSTICKS = ("fcfs", "smallest_volume")
_PARTS = 3  # to learn from, to choose by, to report on


def tune_online(
    rule_path: Path,
    rule: Any,
    objective_name: str,
    backlog: Backlog,
    server_name: str | None,
    online: Any,
    descent: dict[str, Any],
    console: Console,
) -> dict[str, Any]:
    """Tune, print the table of the test traffic, save rule and settings; return the numbers."""
    import jax

    if server_name is None:
        raise ValueError(f"--server is missing; --objective {objective_name} is of a server")
    settings = varied(online.vary or [])
    server = make_server(NamedServer(server_name, None), backlog.kv_capacity)
    objective = _objective(objective_name, server, online)
    train, validation, test = _traffic(backlog, online.rate)
    is_of_constants = not isinstance(rule, (js.policies.LinearScore, js.policies.MLPScore))
    tuned = js.tune(
        js.tuning.in_logs(rule) if is_of_constants else rule,
        train=train,
        validation=validation,
        key=jax.random.key(backlog.seed),
        server=server,
        settings=settings or None,
        objective=objective,
        **descent,
    )
    found = js.tuning.from_logs(tuned.rule)
    pairs: dict[str, tuple[Any, Any]] = {name: (name, server) for name in _YARDSTICKS}
    pairs["the rule at the start"] = rule, server
    if tuned.settings is not None:
        pairs["fcfs, its settings tuned"] = "fcfs", tuned.server
    pairs["the rule when tuned"] = tuned.rule, tuned.server
    values = {name: _of_streams(test, *pair, objective) for name, pair in pairs.items()}
    changes = _changes(values)
    console.print(_table(values, changes, objective))
    from jaxsched.cli._tune import progress_text, say_export

    console.print(progress_text(tuned, descent["steps"], descent["patience"]))
    about = described(backlog, train.as_backlog(ANY_CAPACITY))
    about = {name: value for name, value in about.items() if name != "kv_capacity"}
    about |= {"server": server_name, "objective": objective_name, "settings": tuned.settings}
    save(
        *(rule_path, lambda path: js.policies.save(found, path, tuned_on=about)),
        *("rule", console),
    )
    use = f"jaxsched serve --server {server_name} --policies file:{rule_path}"
    if tuned.settings is not None:
        path = rule_path.with_suffix(".vllm.json")
        arguments = {name.replace("_", "-"): value for name, value in tuned.settings.items()}
        text = json.dumps(arguments, indent=2) + "\n"
        save(path, lambda partial: partial.write_text(text), "settings", console)
        flags = " ".join(_flag(name, value) for name, value in arguments.items())
        console.print(f"for vLLM: {flags}", soft_wrap=True)
        use += f" --vllm {path}"
    console.print(f"{use} uses {'it' if tuned.settings is None else 'them'}", soft_wrap=True)
    say_export(rule_path, found, server_name, backlog.kv_capacity, console)
    return {
        "history": _plain(tuned.history),
        "best_step": tuned.history.best_step,
        "settings": tuned.settings,
        "test": {name: float(each.mean()) for name, each in values.items()},
        "test_change": {
            name: {field: _finite(value) for field, value in change._asdict().items()}
            for name, change in changes.items()
        },
    }


def _objective(name: str, server: js.Server, online: Any) -> Any:
    make = getattr(js.tuning.objectives, name)
    targets = {
        "ttft_slo_s": online.ttft_slo_s,
        "tpot_slo_s": online.tpot_slo_s,
        "e2e_slo_s": online.e2e_slo_s,
    }
    if name in ("goodput", "attainment"):
        if not any(targets.values()):
            raise ValueError(f"--ttft-slo-s is missing; --objective {name} needs a target")
        return make(**targets)
    for target, seconds in targets.items():
        if seconds is not None:
            flag = f"--{target.replace('_', '-')}"
            raise ValueError(f"{flag} is for goodput and attainment; leave it out for {name}")
    return make(server) if name.endswith("slowdown") else make()


def _traffic(backlog: Backlog, rate: float | None) -> tuple[js.Requests, ...]:
    """Draw three times as many streams as asked for, or cut a trace into windows."""
    streams = backlog.batch or _DEFAULT_STREAMS
    given: dict[str, Any] = {
        field.name: getattr(backlog, field.name) for field in dataclasses.fields(backlog)
    }
    given["rate"] = rate
    if backlog.trace is None:
        given["batch"] = _PARTS * streams
        reqs = make_requests(Streams(**given))
        return tuple(reqs[k * streams : (k + 1) * streams] for k in range(_PARTS))
    given |= {"batch": None, "num_requests": None}
    whole = make_requests(Streams(**given))
    most = int(whole.num_requests) // (_PARTS * streams)
    num_requests = backlog.num_requests or max(2, min(DEFAULT_REQUESTS, most))
    return js.tuning.parts(whole, num_requests, (streams,) * _PARTS, rate=rate)


def _of_streams(reqs: js.Requests, rule: Any, server: Any, objective: Any) -> Any:
    value = js.tuning.evaluate(reqs, rule, objective, server=server)
    return js.tuning.objectives.natural(objective, value)


def _changes(values: dict[str, Any]) -> dict[str, Any]:
    """Estimate ratios of means to the first, minus 1, paired by stream; NaN where it has 0."""
    import numpy as np

    from jaxsched.studies.rates.intervals import jackknife, means_without_one

    means = means_without_one(np.stack(list(values.values()))).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = means[1:] / means[0] - 1
    found = jackknife(ratios, None)
    return {
        name: type(found)(*(each[row].item() for each in found))
        for row, name in enumerate(list(values)[1:])
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _table(values: dict[str, Any], changes: dict[str, Any], objective: Any) -> Any:
    from jaxsched._lib.layout import Column, Layout
    from jaxsched._lib.words import counted
    from jaxsched.metrics.statistics import estimate_means
    from jaxsched.show.tables import FittedTable, written

    direction = "higher" if objective.sign < 0 else "lower"
    unit = f"\n({objective.unit})" if objective.unit else ""
    num_streams = len(values[_YARDSTICKS[0]])
    cells = [written(change, is_share=True) for change in changes.values()]
    return FittedTable(
        Layout(
            title=f"mean of {counted(num_streams, 'test stream')}; {direction} is better",
            columns=[
                Column("rule", list(values)),
                Column(
                    f"{objective.name}{unit}",
                    [written(estimate_means(each)) for each in values.values()],
                ),
                Column(f"change\nvs {_YARDSTICKS[0]}", ["-", *cells]),
            ],
            caption="± 95% t intervals over streams; changes are paired" * (num_streams > 1),
        )
    )


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value}"


def _plain(history: js.tuning.History) -> dict[str, Any]:
    import numpy as np

    kept = {name: values for name, values in history._asdict().items() if values is not None}
    return {name: np.asarray(values).tolist() for name, values in kept.items()}
