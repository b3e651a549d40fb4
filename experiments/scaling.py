"""What do more devices cost or bring? 1, 2 and 8 virtual devices of one CPU, which share its cores.

Nothing is to be gained beyond the number of cores: what is shown is that splitting over devices
costs nothing, and that results are equal to the bit. Each count runs in a process of its own.
"""

import hashlib
import json
import os
import subprocess
import sys
import time

import _common
import jax
import numpy as np

import jaxsched as js

DEVICES = 1, 2, 8
SHAPES = (200, 1310), (200, 16384), (1000, 4096)  # requests, instances; the first is a shard
REPEATS = 7
SEED = 0


def measure(is_smoke):
    """Time simulations on the devices of this process and print them."""
    rows = []
    for n, batch in ((50, 600),) if is_smoke else SHAPES:
        inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=batch)
        priority = jax.block_until_ready(js.prioritize(inst, "smallest_volume"))
        times = []
        for _ in range(REPEATS + 1):
            begin = time.perf_counter()
            start = jax.block_until_ready(js.simulate(inst, priority).start)
            times.append(time.perf_counter() - begin)
        rows.append(
            {
                "requests": n,
                "instances": batch,
                "first_call_s": round(times[0], 3),
                "median_s": round(float(np.median(times[1:])), 4),
                "least_s": round(min(times[1:]), 4),
                "greatest_s": round(max(times[1:]), 4),
                "sha256": hashlib.sha256(np.asarray(start).tobytes()).hexdigest(),
            }
        )
    print(json.dumps(rows))


def main():
    parser = _common.parser(__doc__)
    parser.add_argument("--here", action="store_true", help="measure in this process, print it")
    arguments = parser.parse_args()
    if arguments.here:
        measure(arguments.smoke)
        return
    rows, single = [], []
    for count in DEVICES:
        command = [sys.executable, __file__, "--here", *(["--smoke"] * arguments.smoke)]
        flag = f"--xla_force_host_platform_device_count={count}"
        child = subprocess.run(
            command,
            env={**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(child.stdout)
        single = single or found
        for row, one in zip(found, single, strict=True):
            assert row["sha256"] == one["sha256"], "results differ"
            ratio = round(row["median_s"] / one["median_s"], 2)
            rows.append({"devices": count} | row | {"time_of_one_device": ratio})
            print(rows[-1])
    num_cores = len(os.sched_getaffinity(0))
    note = f"virtual devices of one CPU; all of them share {num_cores} cores"
    _common.write_results("scaling", rows, SEED, note=note, repeats=REPEATS)


if __name__ == "__main__":
    main()
