"""How gradients compare with search, at equal numbers of simulations.

Every method starts from the same rule, sees the same minibatches and simulates each instance six
times a step: gradients through noise along the tangent of the scores (the default, with a third
pair) and on every score, evolution strategies and random search. Noise guided by a relaxation takes
five simulations and the relaxation alone one, but they are charged six. Each has its own noise (or
temperature) and learning rate, the pair of four that is best at the end over four seeds of their
own. Curves are means over five other seeds of the best validation so far, with 95% t intervals, as
change from `smallest_volume`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import _common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means
from jaxsched.tuning import estimators

SEED = 0
FEATURES = ("log_prompt", "log_output", "log_total", "prompt_share", "output_share")
SIMULATIONS = 6  # of each instance in a step: three antithetic pairs
RATES = (0.03, 0.1)
LINES = ("-", "--", "-.", (0, (5, 1)), ":", (0, (1, 3)))
Make = Callable[[float], js.tuning.Estimator]
METHODS: dict[str, tuple[Make, tuple[float, float]]] = {
    "tangent_noise": (
        lambda noise: estimators.TangentNoise(noise=jnp.float32(noise)),
        (0.1, 0.2),
    ),
    "score_noise": (lambda noise: estimators.ScoreNoise(noise=jnp.float32(noise)), (0.1, 0.2)),
    "guided_noise": (
        lambda noise: estimators.GuidedNoise(
            noise=jnp.float32(noise), pairs=2, temperature=jnp.float32(noise)
        ),
        (0.1, 0.2),
    ),
    "memory_balance": (
        lambda temperature: estimators.Pathwise(temperature=jnp.float32(temperature)),
        (0.1, 0.2),
    ),
    "evolution_strategies": (
        lambda noise: estimators.EvolutionStrategies(noise=jnp.float32(noise)),
        (0.03, 0.1),
    ),
    "random_search": (
        lambda noise: estimators.RandomSearch(noise=jnp.float32(noise)),
        (0.03, 0.1),
    ),
}


class Size(NamedTuple):
    """How much of everything."""

    instances: int = 256
    minibatch: int = 64
    steps: int = 100
    seeds: int = 5
    choosing: int = 4  # other seeds, to choose noise and rate on


SMOKE = Size(instances=8, minibatch=4, steps=4, seeds=2, choosing=1)


def curves(
    rule: Any, make: Make, noise: float, rate: float, size: Size, seeds: range
) -> tuple[np.ndarray, np.ndarray]:
    """Return steps ``[V]`` and the best validation so far ``[seeds, V]``, in per cent."""
    keys = jax.random.split(jax.random.key(SEED), 2)
    draw = functools.partial(js.workloads.mixed, num_requests=200, batch=size.instances)
    train, validation = draw(keys[0]), draw(keys[1])
    volume = js.tuning.evaluate(validation, "smallest_volume").mean()
    runs = [
        js.tune(
            rule,
            train=train,
            validation=validation,
            key=jax.random.key(seed),
            estimator=make(noise),
            optimizer=optax.adam(optax.cosine_decay_schedule(rate, size.steps)),
            steps=size.steps,
            minibatch_size=size.minibatch,
            validate_every=max(1, size.steps // 20),
        ).history
        for seed in seeds
    ]
    return runs[0].step, np.stack([100 * (run.best / volume - 1) for run in runs])


def measured(rule: Any, size: Size) -> dict[str, Any]:
    """Curves of every method at its best setting."""
    found = {}
    for name, (make, noises) in METHODS.items():
        settings = {
            setting: curves(rule, make, *setting, size, range(100, 100 + size.choosing))
            for setting in itertools.product(noises, RATES)
        }
        best = min(settings, key=lambda setting: settings[setting][1][:, -1].mean())
        steps, change = curves(rule, make, *best, size, range(size.seeds))
        interval = estimate_means(change.T)
        found[name] = {
            "noise": best[0],
            "learning_rate": best[1],
            "simulations": (steps * SIMULATIONS * size.minibatch).tolist(),
            **{field: values.tolist() for field, values in interval._asdict().items()},
            "of_seed": change.tolist(),
        }
        print(f"{name}: {interval.mean[-1]:+.2f}%")
    return found


def rows(results: dict[str, Any]) -> list[_common.Row]:
    """One row a rule, method and number of simulations, in per cent above smallest_volume."""
    return [
        {
            "rule": rule,
            "method": method,
            "noise": found["noise"],
            "learning_rate": found["learning_rate"],
            "simulations": simulations,
            **{field: found[field][place] for field in ("mean", "low", "high")},
            **{f"seed_{seed}": values[place] for seed, values in enumerate(found["of_seed"])},
        }
        for rule, methods in results.items()
        for method, found in methods.items()
        for place, simulations in enumerate(found["simulations"])
    ]


def picture(results: dict[str, Any]) -> Figure:
    """Draw change against simulations, a panel for each rule."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for ax, (rule, methods) in zip(figure.subplots(1, len(results)), results.items(), strict=True):
        for (name, found), line in zip(methods.items(), LINES, strict=True):
            thousands = np.asarray(found["simulations"]) / 1000
            (drawn,) = ax.plot(
                thousands, found["mean"], linestyle=line, label=name.replace("_", " ")
            )
            ax.fill_between(
                thousands, found["low"], found["high"], color=drawn.get_color(), alpha=0.15
            )
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_ylim(-0.8, 0.8)  # most start far above
        ax.set(title=rule, xlabel="simulations, thousands")
        ax.set_ylabel("best so far, % above smallest_volume")
        ax.legend(fontsize="small")
    return figure


def main() -> None:
    arguments = _common.parser(__doc__).parse_args()
    size = SMOKE if arguments.smoke else Size()
    rules = {
        "linear_score": js.policies.make("linear_score", features=FEATURES),
        "mlp_score": js.policies.make("mlp_score", features=FEATURES),
    }
    results = {}
    table = Table(title="Change from smallest_volume, per cent, mean over seeds and 95% interval")
    for header in ("rule", "method", "half the simulations", "all"):
        table.add_column(header)
    for name, rule in rules.items():
        print(name)
        results[name] = measured(rule, size)
        for method, found in results[name].items():
            places = len(found["mean"]) // 2, -1
            cells = [
                "{:+.2f} [{:+.2f}, {:+.2f}]".format(
                    *(found[field][place] for field in ("mean", "low", "high"))
                )
                for place in places
            ]
            table.add_row(name, method, *cells)
    Console(width=100).print(table)
    path = _common.write_results("tuning_curves", rows(results), SEED, size=size._asdict())
    picture(results).savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
