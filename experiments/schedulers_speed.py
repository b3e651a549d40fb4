"""Time each scheduler takes to order a backlog, in milliseconds an instance.

From lengths to priorities, through js.prioritize, all instances in one call and on all cores.
Compilation (the first call less a later one) is apart; medians are quoted, minima stand beside
them because other work on the machine only ever adds.
"""

import time
from typing import NamedTuple

import _common
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.policies.batches.geometric import geometric
from jaxsched.policies.batches.sorted_f import sorted_f
from jaxsched.policies.guided.lp_guided import lp_swap, receding_horizon, sorted_lp

SEED = 0


class Case(NamedTuple):
    """A rule on ``batch`` instances of ``n`` requests; ``target_ms`` an instance, if one is set."""

    name: str
    rule: js.policies.Rule
    n: int
    batch: int
    workload: str = "mixed"
    target_ms: float | None = None


CASES = [
    Case("smallest_volume", js.policies.smallest_volume, 2000, 64),
    Case("geometric", geometric, 2000, 64),
    Case("sorted_f(multiplier_sweep)", sorted_f(), 2000, 64, target_ms=50),
    Case("sorted_f(local_swap)", sorted_f("local_swap"), 2000, 64, target_ms=200),
    Case("sorted_f(greedy)", sorted_f("greedy"), 2000, 64),
    Case("receding_horizon(multiplier_sweep)", receding_horizon(), 2000, 16),
    Case("sorted_f(multiplier_sweep)", sorted_f(), 200, 64),
    Case("sorted_f(scaled_dp)", sorted_f("scaled_dp"), 200, 16, target_ms=1000),
    Case("sorted_f(exact_dp)", sorted_f("exact_dp", max_capacity=50), 60, 64, "uniform"),
    Case("sorted_lp", sorted_lp(), 60, 1, "uniform"),
    Case("lp_swap", lp_swap(), 60, 1, "uniform"),
]


def instances(case):
    key = jax.random.key(SEED)
    if case.workload == "uniform":
        return js.workloads.uniform(key, batch=case.batch)  # 40 to 60 requests, padded to 60
    return js.workloads.mixed(key, num_requests=case.n, batch=case.batch)


def seconds(function):
    begin = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - begin


def measure(case, repeats):
    inst = jax.block_until_ready(instances(case))
    first = seconds(lambda: js.prioritize(inst, case.rule))
    times = [seconds(lambda: js.prioritize(inst, case.rule)) for _ in range(repeats)]
    return {
        "scheduler": case.name,
        "workload": case.workload,
        "requests": case.n,
        "instances": case.batch,
        "compile_s": max(0.0, first - min(times)),
        "median_ms": 1e3 * float(np.median(times)) / case.batch,
        "minimum_ms": 1e3 * min(times) / case.batch,
        "target_ms": case.target_ms,
    }


def table(rows):
    shown = Table(title="Milliseconds an instance, from lengths to priorities")
    shown.add_column("scheduler", no_wrap=True)
    shown.add_column("workload")
    for column in ("requests", "instances", "compile (s)", "median", "minimum", "target"):
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(
            row["scheduler"],
            row["workload"],
            f"{row['requests']:,}",
            f"{row['instances']:,}",
            f"{row['compile_s']:.1f}",
            f"{row['median_ms']:.2f}",
            f"{row['minimum_ms']:.2f}",
            "" if row["target_ms"] is None else f"{row['target_ms']:g}",
        )
    return shown


def main():
    arguments = _common.parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()

    cases, repeats = CASES, options.repeats
    if options.smoke:
        cases = [case._replace(n=min(case.n, 40), batch=2) for case in CASES]
        cases, repeats = [case for case in cases if case.workload == "mixed"], 1
    rows = [measure(case, repeats) for case in cases]
    Console(width=110).print(table(rows))
    _common.write_results("schedulers_speed", rows, SEED, repeats=repeats)


if __name__ == "__main__":
    main()
