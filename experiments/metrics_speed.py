"""What metrics and exact bounds cost on a CPU, beside the simulations that they judge.

Calls take turns, so that a drifting machine favors none; medians are quoted. Beside the time on
the wall stands the time of all cores together, which others who use the machine change less.
"""

import functools
import time

import _common
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js

RULE = "smallest_volume"
CLOCK = js.clock.PRESETS["llama2_70b_2xa100"]
SEED = 0
#: Most that a summary may take of a simulation, and that an exact value may take of a core.
SUMMARY_TARGET, VALUE_TARGET_MS = 0.3, 50


def spent(call):
    """Seconds on the wall, and of all cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turns(calls, repeats):
    """Median seconds of each call, ``{name: (wall, cpu)}``, once all have run."""
    for call in calls.values():
        call()
    times = [[spent(call) for call in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, np.median(times, axis=0).tolist(), strict=True))


def metrics(n, batch, repeats):
    """Time each metric beside the simulation; a row a call."""
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=batch)
    priority = jax.block_until_ready(js.prioritize(inst, RULE))
    sched = jax.block_until_ready(js.simulate(inst, priority))
    calls = {
        "simulate": functools.partial(js.simulate, inst, priority),
        "metrics.summary": functools.partial(js.metrics.summary, inst, sched),
        "metrics.summary, with a clock": functools.partial(js.metrics.summary, inst, sched, CLOCK),
        "metrics.latency": functools.partial(js.metrics.latency, inst, sched),
        "clock.seconds": functools.partial(CLOCK.seconds, inst, sched, sched.completion),
        "verify": functools.partial(js.verify, inst, sched),
        "bounds.volume": functools.partial(js.bounds.volume, inst),
        "bounds.mean_busy": functools.partial(js.bounds.mean_busy, inst),
    }
    times = in_turns(calls, repeats)
    of_simulation = times["simulate"]
    for call, (wall_s, cpu_s) in times.items():
        yield {
            "call": call,
            "requests": n,
            "instances": batch,
            "wall_ms": 1e3 * wall_s,
            "cpu_ms": 1e3 * cpu_s,
            "of_simulation_wall": wall_s / of_simulation[0],
            "of_simulation_cpu": cpu_s / of_simulation[1],
            "target": SUMMARY_TARGET if call == "metrics.summary" else None,
        }


def prices(n, batch, repeats):
    """Time the price bound an instance: its exact value alone, and with the climb before it."""
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=batch)
    price = functools.partial(js.bounds.price, inst, progress=False)
    calls = {"exact value": functools.partial(price, num_steps=0), "300 steps and value": price}
    for part, (wall_s, cpu_s) in in_turns(calls, repeats).items():
        yield {
            "part": part,
            "requests": n,
            "instances": batch,
            "wall_ms_an_instance": 1e3 * wall_s / batch,
            "cpu_ms_an_instance": 1e3 * cpu_s / batch,
            "target_ms": VALUE_TARGET_MS if part == "exact value" else None,
        }


def show(title, rows):
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=130).print(table)


def main():
    arguments = _common.parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=31, help="timed calls of each metric")
    options = arguments.parse_args()
    n, batch, repeats, few = (40, 8, 2, 2) if options.smoke else (1000, 256, options.repeats, 16)
    of_metrics = list(metrics(n, batch, repeats))
    of_prices = list(prices(n, few, min(repeats, 3)))
    show("Metrics beside a simulation", of_metrics)
    show("The price bound", of_prices)
    settings = {"workload": "mixed", "rule": RULE, "repeats": repeats}
    _common.write_results("metrics_speed", of_metrics, SEED, {"price": of_prices}, **settings)


if __name__ == "__main__":
    main()
