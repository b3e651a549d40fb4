"""Does memory grow with the number of instances? A streamed sweep, at 200 requests each.

Each size runs in a process of its own, whose peak resident memory is what the system reports.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time

import _common

import jaxsched as js

SIZES = 10_000, 100_000, 1_000_000
NUM_REQUESTS = 200
SEED = 0


def grid(num_instances):
    return {
        "workloads": ["mixed"],
        "num_requests": [NUM_REQUESTS],
        "kv_capacity": [16492],
        "rules": ["smallest_volume"],
        "num_instances": num_instances,
        "keep": "moments",
        "seed": SEED,
    }


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(num_instances):
    """Run one size in this process and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        js.run_sweep(grid(1000), f"{folder}/first")  # imports, compiles
        before = peak_mib()
        begin = time.perf_counter()
        js.run_sweep(grid(num_instances), f"{folder}/measured")
        wall_s = time.perf_counter() - begin
        peak = peak_mib()
        latency = js.load_sweep(f"{folder}/measured").iloc[0]["mean_latency_rounds"]
    found = {
        "instances": num_instances,
        "wall_s": round(wall_s, 1),
        "simulations_per_s": round(num_instances / wall_s),
        "peak_mib_after_1000_instances": round(before),
        "peak_mib": round(peak),
        "mean_latency_rounds": latency["mean"],
    }
    print(json.dumps(found))


def main():
    parser = _common.parser(__doc__)
    parser.add_argument("--only", type=int, help="measure this size here and print it")
    arguments = parser.parse_args()
    if arguments.only:
        measure(arguments.only)
        return
    rows = []
    for num_instances in (1000, 2000) if arguments.smoke else SIZES:
        command = [sys.executable, __file__, "--only", str(num_instances)]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(child.stdout))
        print(rows[-1])
    _common.write_results("memory", rows, SEED, grid=grid(None))


if __name__ == "__main__":
    main()
