"""How well a clock is found again, from an engine's log and from benchmark tables.

The engine here is js.serve with a known clock. Its steps are written as vLLM writes its own, and as
a table with the squared tokens that vLLM does not tell, both with noise on the times. It serves
two streams: one of chats, and one in which a tenth of the prompts are long. Tables of benchmarks
are of closed loops: as soon as a request ends, the next begins.
"""

import itertools
import tempfile
from pathlib import Path

import _common
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js

SERVERS = ("llama3.1_8b_h100", "llama3.1_70b_4xh100")
#: Requests a second of their streams, on average, by the share of requests with long prompts.
RATES = {0.0: (11.0, 5.0), 0.1: (3.5, 1.6)}
LONG = (8_192, 32_768)  # tokens of a long prompt, log-uniform
COEFFICIENTS = (
    "iteration_ms",
    "prefill_ms_per_token",
    "decode_ms_per_request",
    "kv_ms_per_token",
    "attention_ms_per_squared_token",
)
KV_CAPACITY = 300_000
BLOCK = 16
SEED = 0
NOISES = (0.0, 0.01, 0.03)
TABLE_NOISE = 0.02
TARGET = 0.02
#: Prompt and output tokens of tables, and of those that no fit sees.
SHAPES = [
    *((128, 128), (128, 640), (512, 128), (512, 512), (1024, 128), (1024, 512)),
    *((1024, 640), (2048, 256), (2048, 640), (3000, 300), (96, 768), (4096, 512)),
]
UNSEEN = [(200, 500), (700, 150), (1500, 600), (300, 700), (3500, 400), (900, 300)]
CONCURRENCIES = (1, 4, 16, 64)
#: Other forms of clock to write steps by: name, free tokens, a, b, c, d, squared, root of B. The
#: hinge is a fit to aisimulate 0.13 for Llama-3.1-8B on an H100; the concave one is made up.
FORMS = {
    "linear": (None, 5.897, 0.01684, 0.01341, 4.10e-5, 3.765e-7, 0.0),
    "hinge": (192, 6.750, 0.01934, 0.00616, 4.06e-5, 3.91e-7, 0.0),
    "concave": (None, 9.0, 0.016, 0.01, 3.3e-5, 6e-7, 1.2),
}


def recorded(name, n, rate, long_share):
    """Serve one stream whose load swings, and return its server and log."""
    inst = js.workloads.mixed(jax.random.key(SEED), n, batch=1, kv_capacity=2**31 - 1)
    rng = np.random.default_rng(SEED)
    gaps = rng.exponential(1.0 / rate, n)
    gaps *= np.where(np.arange(n) // (n // 4) % 2, 0.4, 1.6)  # busy and quiet quarters
    is_long = rng.random(n) < long_share
    long = np.exp(rng.uniform(*np.log(LONG), n)).astype(np.int64)
    prompt = np.where(is_long, long, inst.prompt_tokens[0])
    reqs = js.Requests.from_arrays(np.cumsum(gaps), prompt, inst.output_tokens[0])
    server = js.servers.get(name).replace(kv_capacity=KV_CAPACITY, max_num_seqs=256)
    out, log = js.serve(reqs, server, record=True)
    assert not out.num_preemptions.any()
    return server, log


def work(log):
    """P, B, KV and Q of each step, exactly."""
    step = np.repeat(np.arange(log["step_P"].size), log["step_entries"])
    order = np.argsort(log["ent_req"], kind="stable")
    request, tokens = log["ent_req"][order], log["ent_tok"][order].astype(np.float64)
    done = np.cumsum(tokens)
    is_first = np.diff(request, prepend=-1) != 0
    done -= np.maximum.accumulate(np.where(is_first, done - tokens, 0.0))
    sampled = log["ent_sampled"][order].astype(bool)
    before = np.cumsum(sampled) - sampled
    before -= np.maximum.accumulate(np.where(is_first, before, 0))
    is_prompt = before == 0
    squares = np.where(is_prompt, done**2 - (done - tokens) ** 2, 0.0)
    q = np.bincount(step[order], squares, log["step_P"].size)
    filling = np.bincount(step[order], is_prompt, log["step_P"].size).astype(int)
    return log["step_P"], log["step_B"], log["step_KV"], q, filling


def write_log(path, log, ms):
    """Write steps as vLLM does with --enable-logging-iteration-details."""
    p, b, _, _, filling = work(log)
    usage = 100 * (1 - log["step_free_end"] / (KV_CAPACITY // BLOCK))
    lines = [f"INFO [kv_cache_utils.py:1286] GPU KV cache size: {KV_CAPACITY:,} tokens"]
    lines += [
        f"INFO [loggers.py:199] Engine 000: Iteration({i}): {filling[i]} context requests, {p[i]} "
        f"context tokens, {b[i]} generation requests, {b[i]} generation tokens, iteration elapsed "
        f"time: {ms[i]:.2f} ms, GPU KV cache usage: {usage[i]:.1f}%"
        for i in range(p.size)
    ]
    path.write_text("\n".join(lines))


def write_steps(path, steps, ms):
    """Write a table of steps, with squared tokens."""
    rows = np.column_stack([*steps, ms])
    np.savetxt(path, rows, delimiter=",", header="P,B,KV,Q,ms", comments="")


def noisy(ms, noise, rng):
    return ms * rng.lognormal(-(noise**2) / 2, noise, ms.size)


def milliseconds(clock, p, b, kv, q):
    a, *rates = (float(getattr(clock, name)) for name in COEFFICIENTS)
    return a + sum(rate * each for rate, each in zip(rates, (p, b, kv, q), strict=True))


def from_logs(name, long_share, server, log, folder):
    """Refit the clock of a server from its log; a row a form of the log and a noise."""
    *steps, filling = work(log)
    true_ms = milliseconds(server.clock, *steps)
    np.testing.assert_allclose(true_ms, 1e3 * (log["step_end"] - log["step_clock"]), rtol=1e-6)
    for form, noise in itertools.product(("lines", "table"), NOISES):
        path = Path(folder, f"engine.{form}")
        ms = noisy(true_ms, noise, np.random.default_rng(SEED))
        if form == "lines":
            write_log(path, log, ms)
        else:
            write_steps(path, steps, ms)
        found = js.calibrate.fit_log(path)
        error = np.abs(milliseconds(found.clock, *steps) / true_ms - 1)
        yield {
            "server": name,
            "long_prompts": long_share,
            "form": form,
            "noise": noise,
            "steps": true_ms.size,
            "steps_used": found.measured_ms.size,
            "steps_with_prompts": int((filling > 0).sum()),
            "most_decoding": int(log["step_B"].max()),
            "hours": true_ms.sum() / 3.6e6,
            **{
                f"{each}_error": float(getattr(found.clock, each))
                / float(getattr(server.clock, each))
                - 1
                for each in COEFFICIENTS
            },
            **least_errors(server.clock, steps, true_ms, noise),
            "mean_time_error": error.mean(),
            "largest_time_error": error.max(),
            "target": TARGET,
        }


def least_errors(clock, steps, ms, noise):
    """Give relative standard errors of the least squares that know all of the work."""
    relative = np.column_stack([np.ones_like(ms), *steps]) / ms[:, None]
    deviation = noise * np.sqrt(np.diag(np.linalg.inv(relative.T @ relative)))
    return {
        f"{name}_standard_error": each / float(getattr(clock, name))
        for name, each in zip(COEFFICIENTS, deviation, strict=True)
    }


def of_forms(log, folder):
    """Fit all forms to steps that each of them timed; a row a form of the truth."""
    p, b, kv, q, _ = work(log)
    for form, (free, a, per_token, c, d, e, root) in FORMS.items():
        tokens = p if free is None else np.maximum(p + b - free, 0)
        ms = a + per_token * tokens + c * b + d * kv + e * q + root * np.sqrt(b)
        ms = noisy(ms, TABLE_NOISE, np.random.default_rng(SEED))
        path = Path(folder, "steps.csv")
        write_steps(path, (p, b, kv, q), ms)
        found = js.calibrate.fit_log(path)
        yield {
            "timed_by": form,
            "noise": TABLE_NOISE,
            "linear_seen": found.seen.mean,
            "linear_unseen": found.unseen.mean,
            **{
                f"{other}_{which}": getattr(found.alternatives[other], which).mean
                for other in ("hinge", "concave")
                for which in ("seen", "unseen")
            },
            "found_free_tokens": found.alternatives["hinge"].coefficients["T0"],
            "true_free_tokens": free,
        }


def closed_loops(shapes, concurrencies, rounds):
    """Measure TPOT and TTFT of closed loops: a queue of which so many run at once."""
    cases = [(*shape, clients) for shape, clients in itertools.product(shapes, concurrencies)]
    s, o, clients = np.array(cases).T
    n = rounds * max(concurrencies)
    wide = np.ones(n, np.int64)
    reqs = js.Requests.from_arrays(
        np.zeros((s.size, n)), s[:, None] * wide, o[:, None] * wide
    ).replace(is_real=np.arange(n) < rounds * clients[:, None])
    clocks = [js.servers.get(name).clock for name in SERVERS]
    clock = js.clock.LinearClock(
        *(np.array([[float(getattr(each, name))] for each in clocks]) for name in COEFFICIENTS)
    )
    out = js.serve(reqs, js.Server(kv_capacity=2**30, max_num_seqs=clients, clock=clock))
    tpot = np.nanmean((out.completion - out.first_token) / (o[:, None] - 1), axis=-1)
    ttft = np.nanmedian(out.first_token - out.first_scheduled, axis=-1)
    return {
        name: {
            "prompt_tokens": s,
            "output_tokens": o,
            "concurrency": clients,
            "num_prompts": rounds * clients,
            "tpot_ms": 1e3 * tpot[place],
            "ttft_ms": 1e3 * ttft[place],
        }
        for place, name in enumerate(SERVERS)
    }


def taken(table, shapes):
    chosen = dict.fromkeys(shapes, True)
    pairs = zip(table["prompt_tokens"], table["output_tokens"], strict=True)
    rows = np.array([chosen.get((int(s), int(o)), False) for s, o in pairs])
    return {key: values[rows] for key, values in table.items()}


def from_tables(name, table, known, counts, draws):
    """Fit to some shapes of a table and judge by others; a row a number of shapes."""
    rng = np.random.default_rng(SEED)
    measured = {**table, "tpot_ms": noisy(table["tpot_ms"], TABLE_NOISE, rng)}
    unseen = {key: values for key, values in taken(table, UNSEEN).items() if key != "ttft_ms"}
    for count in counts:
        errors = []
        for _ in range(draws if count < len(known) else 1):
            chosen = [known[place] for place in rng.permutation(len(known))[:count]]
            found = js.calibrate.fit_bench(taken(measured, chosen))
            predicted = tpot_ms(found.clock, unseen)
            errors.append(np.abs(predicted / unseen["tpot_ms"] - 1))
        errors = np.array(errors)
        yield {
            "server": name,
            "shapes": count,
            "draws": len(errors),
            "noise": TABLE_NOISE,
            "mean_unseen_error": errors.mean(),
            "worst_draw_mean": errors.mean(axis=1).max(),
            "largest_unseen_error": errors.max(),
        }


def tpot_ms(clock, table):
    """Time per output token by the formula of fit_bench."""
    s, o, clients = (table[key] for key in ("prompt_tokens", "output_tokens", "concurrency"))
    begun = (clients - 1) / o * (1 - 0.5 * clients / table["num_prompts"])
    decoding = 1 + (clients - 1) * (o - 1) / o
    return milliseconds(clock, begun * s, decoding, decoding * (s + o / 2), begun * s**2)


def draw(path, found, rows):
    """Draw what one table gives, and the error on unseen shapes against their number."""
    above, below = js.plots.stacked_axes(2)
    js.plots.calibration(found, title=f"{SERVERS[0]}: closed loops of 12 shapes", ax=above)
    for marker, name in zip("os", SERVERS, strict=True):
        mine = [row for row in rows if row["server"] == name]
        shapes = [row["shapes"] for row in mine]
        error = [100 * row["mean_unseen_error"] for row in mine]
        worst = [100 * row["worst_draw_mean"] for row in mine]
        (line,) = below.plot(shapes, error, marker + "-", label=f"{name}, mean")
        below.plot(shapes, worst, ":", color=line.get_color(), label=f"{name}, worst draw")
    below.set_yscale("log")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")
    below.set_xlabel("shapes in the table")
    below.set_ylabel("error of TPOT on unseen shapes")
    below.spines[["top", "right"]].set_visible(False)
    below.legend(frameon=False)
    above.figure.savefig(path, dpi=150)


def show(title, rows):
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=200).print(table)


def main():
    arguments = _common.parser(__doc__)
    arguments.add_argument("--draws", type=int, default=20, help="choices of shapes each")
    options = arguments.parse_args()
    is_smoke = options.smoke
    n, draws, rounds = (200, 2, 2) if is_smoke else (2000, options.draws, 6)
    counts = (2, 3) if is_smoke else range(2, len(SHAPES) + 1)
    concurrencies = (1, 4) if is_smoke else CONCURRENCIES
    names = SERVERS[: 1 if is_smoke else 2]
    runs = {
        (name, share): recorded(name, n, rate, share)
        for share, rates in RATES.items()
        for name, rate in zip(names, rates, strict=False)
    }
    with tempfile.TemporaryDirectory() as folder:
        logs = [row for case, run in runs.items() for row in from_logs(*case, *run, folder)]
        forms = list(of_forms(runs[SERVERS[0], 0.0][1], folder))
    few = [shape for shape in SHAPES if sum(shape) < 800] if is_smoke else SHAPES
    tables = closed_loops([*few, *UNSEEN], concurrencies, rounds)
    shapes = [
        row
        for name, table in tables.items()
        for row in from_tables(name, table, few, counts, draws)
    ]
    show("From logs", logs)
    show("Other forms of clocks", forms)
    show("From tables", shapes)
    settings = {"workload": "mixed", "requests": n, "draws": draws, "rounds": rounds}
    table = taken(tables[SERVERS[0]], few)
    measured = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    parts = {"forms": forms, "shapes": shapes, "table": measured}
    path = _common.write_results("calibration", logs, SEED, parts, **settings)
    found = js.calibrate.fit_bench(table)
    draw(path.with_suffix(".png"), found, shapes)


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", "the clock rests on")  # which is what is looked at
    main()
