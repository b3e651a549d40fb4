"""What does reading a trace hold in memory? A synthetic CSV with dates, read in every way.

Each way runs in a process of its own, whose peak resident memory is what Linux reports. It counts
from after a small file was read the same way; the result itself is taken off.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _common
import jax
import numpy as np
import pyarrow as pa
from pyarrow import csv

import jaxsched as js

SIZES = 1_000_000, 10_000_000
SEED = 0
KV_CAPACITY = 16492
SAMPLE = {"num_requests": 1000, "batch": 8, "key": jax.random.key(SEED)}
WAYS = {
    "read": js.traces.read,
    "load": lambda path: js.traces.load(path, KV_CAPACITY),
    "load, 8 samples of 1000": lambda path: js.traces.load(path, KV_CAPACITY, **SAMPLE),
    "load_requests": js.traces.load_requests,
    "load_requests at a rate": lambda path: js.traces.load_requests(path, rate=5.0),
    "load_requests, 8 samples of 1000": lambda path: js.traces.load_requests(path, **SAMPLE),
}


def write_trace(path, num_rows):
    """Write rows in the format of Azure, a block at a time."""
    generator = np.random.default_rng(SEED)
    begin, seconds = np.datetime64("2024-05-10", "us"), 0.0
    with path.open("wb") as file:
        file.write(b"TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for block in range(0, num_rows, 100_000):
            n = min(100_000, num_rows - block)
            times = seconds + generator.exponential(0.02, n).cumsum()
            seconds = float(times[-1])
            lengths = generator.integers(1, (4000, 300), (n, 2))  # outputs of all sum below 2^31
            at = begin + (1e6 * times).astype("timedelta64[us]")
            columns = {"at": at, "prompt": lengths[:, 0], "output": lengths[:, 1]}
            csv.write_csv(pa.table(columns), file, csv.WriteOptions(include_header=False))


def memory(field):
    """Bytes of this process: VmRSS now, VmHWM at the peak since :func:`forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 2**10 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def forget_peak():
    """Count from now: a process starts with the peak of the one that started it."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(way, small, path, num_rows):
    """Read one file one way in this process and print what it took."""
    WAYS[way](small)  # imports, compiles
    forget_peak()
    before, begin = memory("VmRSS"), time.process_time()
    found = WAYS[way](path)
    cpu_s, peak = time.process_time() - begin, memory("VmHWM") - before
    result = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(found))
    row = {
        "way": way,
        "rows": num_rows,
        "result_bytes_a_row": result / num_rows,
        "peak_beyond_it_bytes_a_row": (peak - result) / num_rows,
        "cpu_us_a_row": 1e6 * cpu_s / num_rows,
    }
    print(json.dumps(row))


def main():
    parser = _common.parser(__doc__)
    parser.add_argument("--only", nargs=4, help="measure this way, files and size here")
    arguments = parser.parse_args()
    if arguments.only:
        way, small, path, num_rows = arguments.only
        measure(way, small, path, int(num_rows))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        small, path = Path(folder, "small.csv"), Path(folder, "trace.csv")
        write_trace(small, 40_000)
        for num_rows in (100_000,) if arguments.smoke else SIZES:
            write_trace(path, num_rows)
            for way in WAYS:
                only = ["--only", way, small, path, str(num_rows)]
                command = [sys.executable, __file__, *only]
                child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows.append(json.loads(child.stdout))
                print(rows[-1])
    _common.write_results("reader_memory", rows, SEED, kv_capacity=KV_CAPACITY)


if __name__ == "__main__":
    main()
