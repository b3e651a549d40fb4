"""Draws small backlogs, proves their optima, and measures how near rules and bounds come.

Writes the package's data, ``jaxsched/workloads/benchmark.jsonl``: a line an instance, with a
schedule of least total latency. The table says of each what the rules reach and what the bounds
prove.
"""

import json
import time
from pathlib import Path

import _common
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js

SEED = 16
SIZES = range(6, 13)
TIME_LIMIT_S = 300.0
DATA = Path(js.__file__).parent / "workloads" / "benchmark.jsonl"
RULES = (
    *("fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume"),
    *("sorted_f", "geometric", "price_guided"),
)


def uniform(random, n):
    return random.integers(1, 7, n), random.integers(1, 7, n), int(random.integers(20, 29))


def long_outputs(random, n):
    return random.integers(1, 4, n), random.integers(1, 10, n), int(random.integers(20, 29))


def long_prompts(random, n):
    return random.integers(4, 13, n), random.integers(1, 5, n), int(random.integers(24, 37))


def two_kinds(random, n):
    """Draw summaries of long texts for a third, and short chats."""
    is_long = random.random(n) < 1 / 3
    prompt = np.where(is_long, random.integers(8, 14, n), random.integers(1, 4, n))
    output = np.where(is_long, random.integers(1, 4, n), random.integers(2, 9, n))
    return prompt, output, 24


def tight(random, n):
    """Draw requests of which the largest fills the cache, or nearly."""
    prompt, output = random.integers(1, 6, n), random.integers(1, 5, n)
    return prompt, output, int((prompt + output).max() + random.integers(1, 4))


def equal_volumes(random, n):
    """Draw volumes that differ by little, so that an order by volume says little."""
    output = random.integers(1, 7, n)
    prompt = np.maximum(1, np.round(20 / output - output / 2 + random.normal(0, 1, n))).astype(int)
    return prompt, output, 28


FAMILIES = (uniform, long_outputs, long_prompts, two_kinds, tight, equal_volumes)


def drawn(sizes):
    """Give the instances by name; each has a generator of its own."""
    for number, family in enumerate(FAMILIES):
        for n in sizes:
            prompt, output, capacity = family(np.random.default_rng([SEED, number, n]), n)
            name = f"{family.__name__}_{n}"
            yield name, js.Instance.from_lengths(prompt, output, kv_capacity=capacity)


def solved(name, inst):
    """Prove the optimum; give it, a line of the data, the linear program's bound and seconds."""
    begin = time.perf_counter()
    best = js.bounds.exact(inst, time_limit_s=TIME_LIMIT_S)
    seconds = time.perf_counter() - begin
    if best.status != "optimal":
        raise RuntimeError(
            f"{name} is not solved in {TIME_LIMIT_S:g} s: {best.lower}..{best.upper}"
        )
    fields = ("prompt_tokens", "output_tokens", "kv_capacity")
    line = {"name": name, **{field: np.asarray(getattr(inst, field)).tolist() for field in fields}}
    line |= {"start": best.schedule.start.tolist(), "total_latency": best.upper}
    return best.upper, line, float(js.bounds.linear_program(inst)), seconds


def measured(names, instances, optimum, linear_program, seconds):
    """Say how far rules are above the optimum, and what share of it bounds prove; a row each."""
    inst = js.stack(instances)
    columns = {"instance": names, "requests": inst.num_requests.tolist(), "optimum": optimum}
    for rule in RULES:
        sched = js.simulate(inst, js.prioritize(inst, rule))
        columns[rule] = js.metrics.summary(inst, sched)["total_latency_rounds"] / optimum - 1
    columns["best_rule"] = np.min([columns[rule] for rule in RULES], axis=0)
    columns["volume"] = js.bounds.volume(inst) / optimum
    columns["mean_busy"] = js.bounds.mean_busy(inst) / optimum
    columns["price"] = js.bounds.price(inst, progress=False).value / optimum
    columns["linear_program"] = np.asarray(linear_program) / optimum
    columns["seconds"] = seconds
    cells = (np.asarray(column).tolist() for column in columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]


def summarized(rows):
    """Mean, least and greatest of each column."""
    columns = [name for name in rows[0] if name not in ("instance", "requests", "optimum")]
    for name in columns:
        values = np.array([row[name] for row in rows])
        yield {
            "column": name,
            "mean": values.mean(),
            "least": values.min(),
            "greatest": values.max(),
            "optimal": int(np.sum(values == (0 if name in (*RULES, "best_rule") else 1))),
            "instances": len(rows),
        }


def main():
    options = _common.parser(__doc__).parse_args()
    sizes = SIZES[:1] if options.smoke else SIZES
    names, instances = zip(*drawn(sizes), strict=True)
    found = [solved(name, inst) for name, inst in zip(names, instances, strict=True)]
    optimum, lines, linear_program, seconds = zip(*found, strict=True)
    rows = measured(names, instances, np.array(optimum), linear_program, seconds)
    summary = list(summarized(rows))
    table = Table(*summary[0], title="Above the optimum, and share of it that bounds prove")
    for row in summary:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=100).print(table)
    settings = {"sizes": list(sizes), "families": [family.__name__ for family in FAMILIES]}
    _common.write_results("benchmark_set", rows, SEED, {"summary": summary}, **settings)
    if not options.smoke:
        DATA.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


if __name__ == "__main__":
    main()
