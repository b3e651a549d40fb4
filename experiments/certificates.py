"""Say how far each rule, and the best order found, is from what is provably possible.

Bounds and schedules of the mixed workload for 200, 1,000 and 2,000 requests; the price bound beside
the linear programme that it approaches, on small instances; what blocks of rounds give away; and
candidate orders evaluated a second, beside a numba kernel.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import _common
import jax
import numpy as np
from _numba_kernel import earliest_fit, strict_order
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means

SEED = 0
DISCIPLINES = ("strict", "earliest_fit")
RULES = (
    "fcfs",
    "shortest_output",
    "total_size",
    "sorted_f",
    "smallest_volume",
    "price_guided",
)
START = "price_guided"
KERNELS = {"strict": strict_order, "earliest_fit": earliest_fit}


class Size(NamedTuple):
    """Instances of ``n`` requests, and the search they are given."""

    n: int
    instances: int
    num_chains: int
    num_steps: dict[str, int]


FULL = (
    Size(200, 32, 32, {"strict": 40_000, "earliest_fit": 2_000}),
    Size(1000, 4, 32, {"strict": 16_000, "earliest_fit": 200}),
    Size(2000, 2, 32, {"strict": 16_000, "earliest_fit": 50}),
)
SMOKE = (Size(20, 3, 4, {"strict": 300, "earliest_fit": 300}),)


def backlogs(n: int, count: int) -> js.Instance:
    """Draw instances with four chat requests for each summarization request."""
    key = jax.random.fold_in(jax.random.key(SEED), n)
    return js.workloads.mixed(key, num_requests=n, batch=count, exact_counts=True)


def seconds_of(function: Any) -> tuple[Any, float]:
    """Return what the function returns and how long that took."""
    begin = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - begin


def certificates(size: Size) -> dict[str, list[_common.Row]]:
    """Schedules, bounds, searches and their steps on the instances of one size."""
    inst = backlogs(size.n, size.instances)
    js.bounds.price(inst, num_steps=1, progress=False)  # compiled
    bounds, bound_seconds = {}, {}
    for name in ("volume", "mean_busy"):
        bounds[name], bound_seconds[name] = seconds_of(lambda b=name: getattr(js.bounds, b)(inst))
    price, bound_seconds["price"] = seconds_of(lambda: js.bounds.price(inst, progress=False))
    bounds["price"] = price.value
    best_bound = np.max(list(bounds.values()), axis=0)

    total, searches, steps = {}, [], []
    for discipline in DISCIPLINES:
        for rule in RULES:
            priority = js.prioritize(inst, rule)
            sched = js.simulate(inst, priority, discipline=discipline)
            total[rule, discipline] = np.asarray(sched.completion, np.int64).sum(axis=-1)
        options = {"num_chains": size.num_chains, "discipline": discipline, "progress": False}
        options["key"] = jax.random.key(SEED)
        js.improve(inst, START, num_steps=1, **options)  # compiled
        options["num_steps"] = size.num_steps[discipline]
        found, seconds = seconds_of(lambda options=options: js.improve(inst, START, **options))
        if not js.verify(inst, found.schedule).is_feasible.all():
            raise AssertionError(f"improve gave a schedule that does not fit, n = {size.n}")
        total["improve", discipline] = found.history[..., -1]
        evaluations = size.num_chains * size.num_steps[discipline]
        place = {"requests": size.n, "discipline": discipline}
        searches.append(
            place
            | {
                "start": START,
                "num_chains": size.num_chains,
                "num_steps": size.num_steps[discipline],
                "seconds_an_instance": seconds / size.instances,
                "evaluations_a_second": size.instances * evaluations / seconds,
            }
        )
        for at in np.unique(np.geomspace(1, len(found.steps), 12).astype(int) - 1):
            gap = float(np.mean(found.history[..., at] / best_bound - 1))
            steps.append(place | {"steps": int(found.steps[at]), "gap": gap})
    for name, lower in bounds.items():
        for key, value in total.items():
            if (lower > value).any():
                raise AssertionError(f"the {name} bound is above a schedule by {key}, n = {size.n}")
    return {
        "schedules": [
            {
                "requests": size.n,
                "instances": size.instances,
                "rule": rule,
                "discipline": discipline,
                **interval("mean_latency_rounds", value / size.n),
                **interval("gap", value / best_bound - 1),
                **interval("of_sorted_f", value / total["sorted_f", "strict"]),
                **interval("of_smallest_volume", value / total["smallest_volume", "strict"]),
            }
            for (rule, discipline), value in total.items()
        ],
        "bounds": [
            {
                "requests": size.n,
                "bound": name,
                "mean_latency_rounds": float(np.mean(value) / size.n),
                "seconds_an_instance": bound_seconds[name] / size.instances,
            }
            for name, value in bounds.items()
        ],
        "searches": searches,
        "steps": steps,
    }


def interval(name: str, values: np.ndarray) -> _common.Row:
    """Mean over instances and its 95% t interval."""
    return _common.interval(name, estimate_means(values, None))


def beside_linear_program(count: int) -> _common.Row:
    """Price bound over linear programme at one horizon, on small random instances."""
    rng = np.random.default_rng(SEED)
    ratios = []
    for _ in range(count):
        n = int(rng.integers(3, 11))
        prompt, output = rng.integers(1, 13, n), rng.integers(1, 13, n)
        capacity = int((prompt + output).max() + rng.integers(0, 30))
        inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity)
        horizon = int(rng.integers(2, output.sum() + 2))
        exact = js.bounds.linear_program(inst, horizon)
        found = js.bounds.price(
            inst, horizon=horizon, num_steps=1000, tolerance=0, num_blocks=128, progress=False
        )
        ratios.append(float(found.value / exact))
    return {
        "instances": count,
        "least": min(ratios),
        "mean": float(np.mean(ratios)),
        "largest": max(ratios),
    }


def given_away_by_blocks(n: int, count: int, num_blocks: tuple[int, ...]) -> list[dict[str, Any]]:
    """Price bound with blocks of rounds, over that with a price for every round."""
    inst = backlogs(n, count)
    longest = 1 << 14  # more than any horizon at this size: a block is one round
    full, seconds = seconds_of(
        lambda: js.bounds.price(inst, num_blocks=longest, num_steps=1000, progress=False)
    )
    rows = [{"num_blocks": None, "of_full": 1.0, "seconds_an_instance": seconds / count}]
    for blocks in num_blocks:
        js.bounds.price(inst, num_blocks=blocks, num_steps=1, progress=False)  # compiled
        found, seconds = seconds_of(
            lambda blocks=blocks: js.bounds.price(inst, num_blocks=blocks, progress=False)
        )
        ratio = float(np.mean(found.value / full.value))
        rows.append(
            {"num_blocks": blocks, "of_full": ratio, "seconds_an_instance": seconds / count}
        )
    return rows


def evaluations_a_second(n: int, count: int, repeats: int = 5) -> list[dict[str, Any]]:
    """Orders near smallest volume first, evaluated by js.simulate and by numba."""
    one = backlogs(n, 1)
    inst = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), count, axis=0), one)
    rng = np.random.default_rng(SEED)
    volume = np.log(np.asarray(inst.volume, np.float64))
    priority = (volume + rng.normal(0, 0.2, volume.shape)).astype(np.float32)
    rows = []
    for discipline, kernel in KERNELS.items():
        lengths = inst.prompt_tokens, inst.output_tokens, inst.kv_capacity

        def ours(discipline: str = discipline) -> Any:
            return js.simulate(inst, priority, discipline=discipline).start

        def numbas(kernel: Any = kernel, lengths: Any = lengths) -> Any:
            return kernel(*lengths, priority)

        np.testing.assert_array_equal(ours(), numbas())
        times = np.array([[seconds_of(ours)[1], seconds_of(numbas)[1]] for _ in range(repeats)])
        mine, numba = np.median(times, axis=0)
        rows.append(
            {
                "requests": n,
                "orders": count,
                "discipline": discipline,
                "jaxsched_a_second": float(count / mine),
                "numba_a_second": float(count / numba),
                "ratio": float(numba / mine),
            }
        )
    return rows


def shown(size: Size, schedules: list[_common.Row]) -> Table:
    """Lay out the schedules of one size."""
    table = Table(title=f"mixed, n = {size.n}, {size.instances} instances")
    for column in ("rule", "discipline", "mean latency", "gap", "of sorted_f", "of svf"):
        table.add_column(column, justify="left" if column in ("rule", "discipline") else "right")
    for row in schedules:
        table.add_row(
            row["rule"],
            row["discipline"],
            f"{row['mean_latency_rounds']:.1f}",
            f"{row['gap']:.1%}",
            f"{row['of_sorted_f']:.4f}",
            f"{row['of_smallest_volume']:.4f}",
        )
    return table


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    console = Console(width=100)

    linear = beside_linear_program(3 if is_smoke else 200)
    console.print("price over linear programme:", linear)
    blocks = given_away_by_blocks(20 if is_smoke else 200, 1 if is_smoke else 4, (128, 512, 1024))
    console.print("blocks of rounds:", blocks)
    rates = []
    for n, count in ((20, 64),) if is_smoke else ((200, 64), (200, 4096), (1000, 512), (2000, 256)):
        rates += evaluations_a_second(n, count)
    console.print("orders evaluated a second:", rates)

    tables: dict[str, list[_common.Row]] = {}
    for size in SMOKE if is_smoke else FULL:
        found = certificates(size)
        console.print(shown(size, found["schedules"]))
        console.print({name: found[name] for name in ("bounds", "searches", "steps")})
        for name, rows in found.items():
            tables.setdefault(name, []).extend(rows)
    schedules = tables.pop("schedules")
    tables |= {"linear_program": [linear], "blocks": blocks, "evaluations": rates}
    _common.write_results("certificates", schedules, SEED, tables, workload="mixed")


if __name__ == "__main__":
    main()
