"""How fast is the simulator, beside a hand-written numba kernel and the plain-Python oracle.

All times run from priorities to starts, sorting included, on all cores. Compilation is apart;
the two kernels take turns, so that a drifting machine favours neither; medians are quoted.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import _common
import _numba_kernel
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.reference.strict_order import strict_order as oracle

ORDERS = ("fcfs", "shortest_output", "smallest_volume")
TARGET_SIZE = (1000, 256)  # requests, instances
TARGETS = {"fcfs": 1.5, "shortest_output": 2.5, "smallest_volume": 1.5}
SEED = 0


def seconds(function):
    begin = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - begin


def measure(n, batch, order, repeats, discipline="strict"):

    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=batch)
    priority = jax.block_until_ready(js.prioritize(inst, order))
    fields = (inst.prompt_tokens, inst.output_tokens, inst.kv_capacity, priority)
    on_host = [np.asarray(field) for field in fields]

    rival = {"strict": _numba_kernel.strict_order, "earliest_fit": _numba_kernel.earliest_fit}

    def ours():
        return js.simulate(inst, priority, discipline=discipline).start

    def numba():
        return rival[discipline](*on_host)

    first = seconds(ours)
    np.testing.assert_array_equal(ours(), numba())
    times = [(seconds(ours), seconds(numba)) for _ in range(repeats)]
    ours_s, numba_s = np.median(times, axis=0).tolist()
    return {
        "requests": n,
        "instances": batch,
        "rule": order,
        "discipline": discipline,
        "first_call_s": first,
        "jaxsched_s": ours_s,
        "numba_s": numba_s,
        "ratio": ours_s / numba_s,
        "requests_per_s": n * batch / ours_s,
        "us_per_instance": 1e6 * ours_s / batch,
    }


def in_one_program(n, batch, order, repeats):
    """Seconds for the same inside a caller's jit: one program, priorities sorted by XLA."""
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=batch)
    priority = js.prioritize(inst, order)
    program = jax.jit(lambda inst, priority: js.simulate(inst, priority).start)
    seconds(lambda: program(inst, priority))
    times = [seconds(lambda: program(inst, priority)) for _ in range(repeats)]
    return {"requests": n, "instances": batch, "rule": order, "jit_s": float(np.median(times))}


def measure_oracle(n):
    """Time the oracle on few requests: it counts every round for every candidate round."""
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n)
    prompt, output = (
        np.asarray(inst.prompt_tokens).tolist(),
        np.asarray(inst.output_tokens).tolist(),
    )
    spent = seconds(lambda: oracle(prompt, output, int(inst.kv_capacity), list(range(n))))
    return {"requests": n, "rule": "fcfs", "oracle_s": spent, "requests_per_s": n / spent}


def peak_memory(num_instances, n):
    """Peak resident memory of a fresh process that simulates this many instances, in GiB."""
    command = [sys.executable, __file__, "--memory-of", str(num_instances), str(n)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def report_memory(num_instances, n):
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=num_instances)
    sched = js.simulate(inst, js.prioritize(inst, "smallest_volume"))
    jax.block_until_ready(sched)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)  # KiB on Linux


def growth(rows, batch):
    """Exponent of n in seconds an instance at one batch size, least squares in logarithms."""
    found = []
    for order in ORDERS:
        chosen = [row for row in rows if row["rule"] == order and row["instances"] == batch]
        sizes, times = zip(*[(row["requests"], row["jaxsched_s"]) for row in chosen], strict=True)
        exponent = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
        found.append({"rule": order, "instances": batch, "exponent": exponent})
    return found


def table(rows):
    discipline = rows[0]["discipline"].replace("_", " ")
    shown = Table(title=f"Seconds from priorities to starts, medians, {discipline}")
    for column in (
        "requests",
        "instances",
        "rule",
        "first call",
        "jaxsched",
        "numba",
        "ratio",
        "us/instance",
    ):
        shown.add_column(column, justify="left" if column == "rule" else "right")
    for row in rows:
        shown.add_row(
            f"{row['requests']:,}",
            f"{row['instances']:,}",
            row["rule"],
            f"{row['first_call_s']:.2f}",
            f"{row['jaxsched_s']:.4f}",
            f"{row['numba_s']:.4f}",
            f"{row['ratio']:.2f}",
            f"{row['us_per_instance']:.0f}",
        )
    return shown


def main():
    arguments = _common.parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=7, help="timed calls of each")
    arguments.add_argument("--memory-of", type=int, nargs=2, metavar=("INSTANCES", "N"))
    options = arguments.parse_args()
    if options.memory_of:
        report_memory(*options.memory_of)
        return

    sizes, batches, inner, many = (200, 1000, 2000), (1, 16, 64, 256, 1024, 4096), 256, 100_000
    repeats = options.repeats
    if options.smoke:
        sizes, batches, inner, many, repeats = (50, 100), (1, 64), 64, 1000, 2
    # First, because Linux hands the peak of a process on to those it starts.
    memory = {"requests": sizes[0], "instances": many, "gib": peak_memory(many, sizes[0])}
    rows = []
    for n in sizes:
        for batch in batches:
            rows += [measure(n, batch, order, repeats) for order in ORDERS]
    fitted = [measure(n, 64, order, repeats, "earliest_fit") for n in sizes[:2] for order in ORDERS]
    Console().print(table(rows))
    Console().print(table(fitted))

    parts = {
        "one_program": [
            in_one_program(n, inner, order, repeats) for n in sizes for order in ORDERS
        ],
        "oracle": [measure_oracle(12 if options.smoke else 25)],
        "growth": growth(rows, batches[-1]),
        "memory": [memory],
        "targets": [
            row | {"target": TARGETS[row["rule"]]}
            for row in rows
            if (row["requests"], row["instances"]) == TARGET_SIZE
        ],
    }
    for name, part in parts.items():
        print(name, *part, sep="\n  ")
    settings = {"workload": "mixed", "repeats": repeats}
    _common.write_results("throughput", rows + fitted, SEED, parts, **settings)


if __name__ == "__main__":
    main()
