"""How fast is ``js.serve``, beside a hand-written numba kernel and the plain-Python oracle.

Streams of real lengths arrive by Poisson's law at shares of what the server can take, with ample
and with tight memory. The numba kernel comes in two forms: every running request by itself in every
step, and one in which those that decode share a pass. All use all cores and take turns; medians are
quoted, and they agree on every completion. Then: the first call of a shape, a grid of settings, one
long stream.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import _common
import _serve_numba
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.reference.online import serve as oracle
from tests.reference.online_settings import Settings

SEED = 0
SERVER = js.servers.get("llama3.1_8b_h100").replace(max_num_seqs=256)
MEMORY = {"ample": 384_000, "tight": 48_000}  # tokens
LOADS = (0.5, 0.9, 1.1)
#: Measured elsewhere, requests per CPU second on two busy cores.
PEERS = {
    "vLLM 0.33, its scheduler alone": (190, 190),
    "aisimulate 0.13 (Rust)": (960, 4700),
    "sched-sim": (1600, 2600),
    "Vidur": (850, 1640),
}


def lengths(name):
    """Read prompt and output tokens of a trace, or look-alikes where the data is not at hand."""
    folder = _common.data_dir()
    if folder is not None and (folder / f"{name}.csv.gz").exists():
        trace = js.traces.read(folder / f"{name}.csv.gz")
        is_fit = trace.output_tokens >= 1
        return name, trace.prompt_tokens[is_fit], trace.output_tokens[is_fit]
    inst = js.workloads.chat(jax.random.key(SEED), num_requests=10_000)
    return "chat (look-alike)", np.asarray(inst.prompt_tokens), np.asarray(inst.output_tokens)


def draw(prompt, output, num_streams, n, rate, seed=SEED):
    """Draw streams ``[B, n]`` of lengths with Poisson arrivals at ``rate`` a second."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(prompt), (num_streams, n))
    arrival_s = np.cumsum(rng.exponential(1 / rate, (num_streams, n)), axis=-1)
    return js.Requests.from_arrays(arrival_s, prompt[rows], output[rows])


def capacity_rate(prompt, output, server):
    """Measure the requests a second that the server works off when all wait from the start."""
    backlog = draw(prompt, output, 4, 2000, rate=1e9)
    out = js.serve(backlog, server)
    return float(2000 / np.mean(np.max(out.completion_s, axis=-1)))


def numba_servers(server, num_streams):
    """Hand the same settings to the rival."""
    clock = server.clock

    def each(value, dtype):
        return np.full(num_streams, value, dtype)

    clock_s = 1e-3 * np.array(
        [
            clock.iteration_ms,
            clock.prefill_ms_per_token,
            clock.decode_ms_per_request,
            clock.kv_ms_per_token,
            2 * clock.attention_ms_per_squared_token,
        ]
    )
    return _serve_numba.Servers(
        num_gpu_blocks=each(server.kv_capacity // server.block_size + 1, np.int64),
        block_size=each(server.block_size, np.int64),
        max_num_seqs=each(server.max_num_seqs, np.int64),
        max_num_batched_tokens=each(server.max_num_batched_tokens, np.int64),
        max_model_len=each(server.max_model_len, np.int64),
        enable_chunked_prefill=each(True, bool),
        long_prefill_token_threshold=each(0, np.int64),
        long_prefill_token_threshold_adaptive=each(False, bool),
        is_priority=each(False, bool),
        watermark=each(0.0, np.float64),
        scheduler_reserve_full_isl=each(True, bool),
        prefill_schedule_interval=each(1, np.int64),
        clock_s=np.tile(clock_s, (num_streams, 1)),
    )


def seconds(function):
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def compared(case, reqs, server, repeats):
    """Both kernels in turn, after one call each that is not counted."""
    on_host = [np.asarray(each) for each in (reqs.arrival_s, reqs.prompt_tokens)]
    output = np.asarray(reqs.output_tokens, np.int64)
    servers = numba_servers(server, len(reqs))

    def rival(shares_decodes):
        prompt = on_host[1].astype(np.int64)
        return _serve_numba.serve(
            on_host[0], prompt, output, servers, shares_decodes=shares_decodes
        )

    calls = (lambda: js.serve(reqs, server), lambda: rival(False), lambda: rival(True))
    ours, theirs, _ = (call() for call in calls)
    is_ok = np.asarray(ours.status) == js.Status.OK
    np.testing.assert_allclose(
        np.asarray(ours.completion)[is_ok], theirs.completion_s[is_ok], rtol=1e-9
    )
    times = [[seconds(call)[0] for call in calls] for _ in range(repeats)]
    ours_s, numba_s, shared_s = np.median(times, axis=0)
    num_requests = output.size
    return case | {
        "jaxsched_ms": 1e3 * ours_s,
        "numba_ms": 1e3 * numba_s,
        "numba_shared_ms": 1e3 * shared_s,
        "ratio": ours_s / numba_s,
        "ratio_shared": ours_s / shared_s,
        "requests_per_s": num_requests / ours_s,
        "numba_requests_per_s": num_requests / numba_s,
        "numba_shared_requests_per_s": num_requests / shared_s,
        "preemptions_a_request": float(np.sum(ours.num_preemptions)) / num_requests,
        "steps_a_request": float(np.sum(ours.num_steps)) / num_requests,
    }


def oracle_speed(reqs, server, n):
    """Time the plain-Python model, in requests a second."""
    clock = numba_servers(server, 1).clock_s[0]
    settings = Settings(
        num_gpu_blocks=server.kv_capacity // server.block_size + 1,
        block_size=server.block_size,
        max_num_seqs=server.max_num_seqs,
        max_num_batched_tokens=server.max_num_batched_tokens,
    )
    arrival, prompt, output = (
        np.asarray(each)[0, :n].tolist()
        for each in (reqs.arrival_s, reqs.prompt_tokens, reqs.output_tokens)
    )
    elapsed, _ = seconds(lambda: oracle(arrival, prompt, output, settings, tuple(clock)))
    return n / elapsed


FIRST_CALL = """
import time, numpy as np, jax, jaxsched as js
reqs = js.Requests.from_arrays(np.tile(np.arange(1000.0), (64, 1)), np.full((64, 1000), 300),
                               np.full((64, 1000), 100))
server = js.servers.get("llama3.1_8b_h100")
begin = time.perf_counter(); js.serve(reqs, server); first = time.perf_counter() - begin
names = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: names.append(event) if "compile" in event else None)
js.serve(reqs, server.replace(max_num_batched_tokens=512, kv_capacity=64_000, max_num_seqs=32))
print(first, len(names))
"""


def first_call():
    """Seconds of the first call of a shape, and programs compiled when numbers change."""
    command = [sys.executable, "-c", FIRST_CALL]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    first_s, compiled = shown.stdout.split()
    return {"first_call_s": float(first_s), "compiled_when_numbers_change": int(compiled)}


def grid(prompt, output, num_settings, num_streams, n, rate, repeats):
    """Time a grid of settings in one call, beside as many equal streams."""
    reqs = draw(prompt, output, num_streams, n, rate)
    budgets = np.geomspace(256, 8192, num_settings).astype(int)
    many = SERVER.replace(max_num_batched_tokens=budgets[:, None])
    equal = draw(prompt, output, num_settings * num_streams, n, rate)
    calls = (lambda: js.serve(reqs, many), lambda: js.serve(equal, SERVER))
    for call in calls:
        call()
    times = [[seconds(call)[0] for call in calls] for _ in range(repeats)]
    grid_s, equal_s = np.median(times, axis=0)
    return {
        "settings": num_settings,
        "streams": num_streams,
        "requests": n,
        "grid_ms": 1e3 * grid_s,
        "equal_streams_ms": 1e3 * equal_s,
        "ratio": grid_s / equal_s,
    }


LONG = """
import sys, time, resource, numpy as np, jaxsched as js
sys.path.insert(0, "experiments")
import serve_speed
n = int(sys.argv[1])
_, prompt, output = serve_speed.lengths("azure2023_conv")
rate = 0.9 * serve_speed.capacity_rate(prompt, output, serve_speed.SERVER)
reqs = serve_speed.draw(prompt, output, 1, n, rate)
js.serve(reqs, serve_speed.SERVER)
begin = time.perf_counter()
js.serve(reqs, serve_speed.SERVER)
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def long_streams(sizes):
    """One stream of many requests: seconds, and the most memory of a process that does it."""
    rows = []
    for n in sizes:
        command = [sys.executable, "-c", LONG, str(n)]
        shown = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
        )
        elapsed, gib = map(float, shown.stdout.split())
        rows.append({"requests": n, "seconds": elapsed, "peak_gib": gib})
    slope = np.polyfit(*np.log([[row["requests"], row["seconds"]] for row in rows]).T, 1)[0]
    for row in rows:
        row["exponent"] = slope
    return rows


def written(value):
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def shown(rows, title):
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", "\n"), justify="right")
    for row in rows:
        table.add_row(*map(written, row.values()))
    Console(width=160).print(table)


def main(is_smoke):
    n, repeats = (100, 1) if is_smoke else (1000, 7)
    batches, usual = ((8,), 8) if is_smoke else ((16, 256, 1024), 256)
    traces = ("azure2023_conv",) if is_smoke else ("azure2023_conv", "azure2023_code")
    # First, because Linux hands the peak of a process on to those it starts.
    long = long_streams((200, 400) if is_smoke else (10_000, 100_000, 1_000_000))
    rows, oracles = [], []
    for trace in traces:
        name, prompt, output = lengths(trace)
        for memory, tokens in MEMORY.items():
            server = SERVER.replace(kv_capacity=tokens)
            rate = capacity_rate(prompt, output, server)
            for load in LOADS:
                for num_streams in batches if load == 0.9 else (usual,):
                    reqs = draw(prompt, output, num_streams, n, load * rate)
                    case = {
                        "lengths": name,
                        "memory": memory,
                        "load": load,
                        "streams": num_streams,
                        "requests": n,
                    }
                    rows.append(compared(case, reqs, server, repeats))
            per_s = oracle_speed(draw(prompt, output, 1, n, 0.9 * rate), server, n)
            oracles.append({"lengths": name, "memory": memory, "requests_per_s": per_s})
    shown(rows, "one call, all cores")

    name, prompt, output = lengths("azure2023_conv")
    rate = 0.9 * capacity_rate(prompt, output, SERVER)
    parts = {
        "plain_python": oracles,
        "first_call": [first_call()],
        "grid": [grid(prompt, output, *((4, 2) if is_smoke else (64, 16)), n, rate, repeats)],
        "long": long,
        "peers": [
            {"peer": peer, "least_requests_per_cpu_s": low, "most_requests_per_cpu_s": high}
            for peer, (low, high) in PEERS.items()
        ],
    }
    for part, part_rows in parts.items():
        shown(part_rows, part)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    settings = {"cores": os.cpu_count(), "server": "llama3.1_8b_h100", "peak_gib": round(peak, 2)}
    _common.write_results("serve_speed", rows, SEED, parts, repeats=repeats, **settings)


if __name__ == "__main__":
    main(_common.parser(__doc__).parse_args().smoke)
