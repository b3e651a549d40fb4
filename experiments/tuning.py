"""How much better is a tuned rule than the best fixed one, and how soon is it found.

For each workload and trace: several descents from the best index rule, the best of them chosen on
validation instances, compared with the fixed rules on test instances that took no part. Before
that, the time from weights that know nothing, without a volume feature, to `smallest_volume`, in
a process of its own that has compiled nothing yet. Traces that are absent are left out.
"""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import _common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means
from jaxsched.policies.features import features

SEED = 1  # settings were chosen on draws of seed 0
NUM_REQUESTS = 200
KV_CAPACITY = 16492
TRACES = {
    "azure2023_conv": KV_CAPACITY,
    "azure2023_code": KV_CAPACITY,
    "arxiv_summarization": KV_CAPACITY,
    "mooncake_conversation": 524288,
}
FIXED = ["fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume", "sorted_f"]
OBJECTIVES = {"mean_latency": js.tuning.mean_latency, "p99": js.tuning.p99_latency}
FEATURES = (
    *("log_volume", "log_prompt", "log_output", "log_total", "prompt_share", "output_share"),
    *("prompt_share*prompt_share", "prompt_share*output_share", "output_share*output_share"),
    *("log_prompt*log_prompt", "log_prompt*log_output", "log_output*log_output"),
)
STARTS = FEATURES[:4]  # one of them alone is an index rule, up to rounding
BLIND_FEATURES = ("log_prompt", "log_output", "log_total")  # no volume among them


class Target(NamedTuple):
    """Per cent above ``smallest_volume`` and seconds to be there; how it is tried."""

    percent: float
    seconds: float
    rate: float
    steps: int


BLIND_TARGETS = {"linear_score": Target(0.3, 15, 0.1, 100), "mlp_score": Target(1, 60, 0.03, 300)}


class Size(NamedTuple):
    """How much of everything; ``rates`` are the descents to choose from."""

    train: int = 512
    validation: int = 1024
    test: int = 2048
    steps: int = 200
    minibatch: int = 128
    rates: tuple[float, ...] = (0.01, 0.03)


SMOKE = Size(16, 16, 16, 4, 8, (0.03,))


def sources() -> dict[str, Callable[..., js.Instance]]:
    """Functions of a key and ``batch=`` that draw instances."""
    found: dict[str, Callable[..., js.Instance]] = {
        name: functools.partial(getattr(js.workloads, name), num_requests=NUM_REQUESTS)
        for name in ("chat", "summarization", "mixed")
    }
    found["uniform"] = js.workloads.uniform
    folder = _common.data_dir()
    for name, capacity in TRACES.items():
        path = folder / f"{name}.csv.gz" if folder else None
        if path is None or not path.is_file():
            print(f"{name}: no such trace; set JAXSCHED_DATA to a folder that holds it")
            continue
        found[name] = functools.partial(_sampled, path, capacity)
    return found


def _sampled(path: Any, capacity: int, key: jax.Array, batch: int) -> js.Instance:
    return js.traces.load(
        path, capacity, num_requests=NUM_REQUESTS, batch=batch, key=key, drop_invalid=True
    )


def tuned(
    train: js.Instance, validation: js.Instance, objective: js.tuning.Objective, size: Size
) -> tuple[js.tuning.Tuned, float]:
    """Descend from the best index rule at every rate; choose a run and its rate by validation."""
    starts = [
        js.policies.make("linear_score", features=FEATURES, weights=[f == name for f in FEATURES])
        for name in STARTS
    ]
    rule = min(starts, key=lambda start: js.tuning.evaluate(validation, start, objective).mean())
    spread = jnp.std(jax.vmap(functools.partial(features, FEATURES))(train), axis=(0, 1))
    runs = {
        rate: js.tune(
            rule,
            train=train,
            validation=validation,
            key=jax.random.key(SEED),
            objective=objective,
            optimizer=optax.chain(
                optax.adam(optax.cosine_decay_schedule(rate, size.steps)), in_units_of(spread)
            ),
            steps=size.steps,
            minibatch_size=size.minibatch,
            validate_every=max(1, size.steps // 15),
        )
        for rate in size.rates
    }
    chosen = min(runs, key=lambda rate: runs[rate].history.best[-1])
    return runs[chosen], chosen


def in_units_of(spread: jax.Array) -> optax.GradientTransformation:
    """Let one step change the score by as much through each feature, whatever its spread."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda update: update / (spread + 1e-6), updates)
    )


class Compared(NamedTuple):
    """Rows for the tuned rule beside the fixed ones, and the weights it ended with."""

    rules: list[_common.Row]
    weights: list[_common.Row]


def compared(name: str, draw: Callable[..., js.Instance], size: Size) -> Compared:
    """Tune for each held-out objective and compare on test instances, in per cent."""
    keys = jax.random.split(jax.random.key(SEED), 3)
    batches = size.train, size.validation, size.test
    train, validation, test = (
        draw(key, batch=batch) for key, batch in zip(keys, batches, strict=True)
    )
    found = Compared([], [])
    for metric, objective in OBJECTIVES.items():
        begin = time.perf_counter()
        run, rate = tuned(train, validation, objective, size)
        seconds = time.perf_counter() - begin
        values = {rule: js.tuning.evaluate(test, rule, objective) for rule in FIXED}
        mine = js.tuning.evaluate(test, run.rule, objective)
        best = min(values, key=lambda rule: values[rule].mean())
        place = {"backlogs": name, "objective": metric}
        for rule, each in values.items():
            row = {"rule": rule, "mean": each.mean(), "is_best_fixed": rule == best}
            found.rules.append(place | row | change(mine, each))
        how = {"learning_rate": rate, "best_step": run.history.best_step, "tuning_s": seconds}
        found.rules.append(place | {"rule": "tuned", "mean": mine.mean()} | how)
        found.weights.extend(
            place | {"feature": feature, "weight": float(weight)}
            for feature, weight in zip(run.rule.features, run.rule.weights, strict=True)
        )
        percent = change(mine, values[best])["tuned_is_above_percent"]
        print(f"{name}, {metric}: {percent:+.2f}% against {best}, {seconds:.0f} s")
    return found


def change(mine: np.ndarray, other: np.ndarray) -> _common.Row:
    """Paired change of the mean, in per cent of the other's mean, with its 95% interval."""
    estimate = estimate_means(100 * (mine - other) / other.mean())
    return _common.interval("tuned_is_above_percent", estimate)


def blind_start(name: str, size: Size) -> dict[str, Any]:
    """Tune a rule that knows nothing of volume, in a process that is new."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(_blind_start, name, size).result()
    print(
        f"{name} without a volume feature: {found['tuned_is_above_percent']:+.2f}% against "
        f"smallest_volume after {found['seconds']:.1f} s, compilation included"
    )
    return found


def _blind_start(name: str, size: Size) -> dict[str, Any]:
    keys = jax.random.split(jax.random.key(SEED + 1), 3)
    draw = functools.partial(js.workloads.mixed, num_requests=NUM_REQUESTS)
    train, validation, test = (
        draw(key, batch=batch) for key, batch in zip(keys, (64, 64, size.test), strict=True)
    )
    target = BLIND_TARGETS[name]
    begin = time.perf_counter()
    found = js.tune(
        js.policies.make(name, features=BLIND_FEATURES),
        train=train,
        validation=validation,
        key=jax.random.key(SEED),
        optimizer=optax.adam(target.rate),
        steps=min(target.steps, 25 * size.steps),
        minibatch_size=32,
    )
    seconds = time.perf_counter() - begin
    volume = js.tuning.evaluate(test, "smallest_volume")
    return {
        "rule": name,
        "seconds": seconds,
        "target_s": target.seconds,
        **change(js.tuning.evaluate(test, found.rule), volume),
        "target_percent": target.percent,
        "best_step": found.history.best_step,
    }


def printed(rules: list[_common.Row]) -> Table:
    """Held-out change against the best fixed rule and against Sorted-F."""
    against_sorted_f = {
        (row["backlogs"], row["objective"]): shown(row)
        for row in rules
        if row["rule"] == "sorted_f"
    }
    table = Table(title="Tuned rule on held-out instances, change in per cent, 95% interval")
    for header in ("instances", "objective", "best fixed", "against it", "against sorted_f"):
        table.add_column(header)
    for row in rules:
        if row.get("is_best_fixed"):
            place = row["backlogs"], row["objective"]
            table.add_row(*place, row["rule"], shown(row), against_sorted_f[place])
    return table


def shown(row: _common.Row) -> str:
    """Lay out a change and its interval."""
    name = "tuned_is_above_percent"
    return f"{row[name]:+.2f} [{row[name + '_low']:+.2f}, {row[name + '_high']:+.2f}]"


def main() -> None:
    arguments = _common.parser(__doc__).parse_args()
    size = SMOKE if arguments.smoke else Size()
    blind = [blind_start(name, size) for name in BLIND_TARGETS]
    drawn = sources()
    if arguments.smoke:
        drawn = {"mixed": drawn["mixed"]}
    results = [compared(name, draw, size) for name, draw in drawn.items()]
    rules = [row for found in results for row in found.rules]
    weights = [row for found in results for row in found.weights]
    Console(width=110).print(printed(rules))
    parts = {"weights": weights, "blind_start": blind}
    _common.write_results("tuning", rules, SEED, parts, size=size._asdict())


if __name__ == "__main__":
    main()
