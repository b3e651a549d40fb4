"""Serve with predicted lengths: what is left of the gain as their error grows.

Streams near and beyond the rate that no rule keeps up with, on a server with plenty of memory and
on one with little. The gain of a rule is what it saves of the mean latency of first come, first
served. The share that is left is the mean gain over the mean gain with true lengths, where the
latter is a gain.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import _common
import _online_cases as online
import jax
import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means

SEED = 0
SERVER = "llama3.1_8b_h100"
LITTLE_KV = {"azure2023_conv": 64_000, "bursty_mixed": 16_000}
SIGMAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
LOADS = np.array([0.9, 1.0, 1.1])
KINDS = ("lognormal", "classes", "interval")
RULES = ("shortest_output", "smallest_volume", "gamma_boost", "shortest_remaining")
#: They read no output length, so that no error can hurt them.
WITHOUT = ("shortest_prompt", "uniboost")
METRICS = ("attainment", "mean_ttft_s", "p99_ttft_s", "mean_e2e_s", "p99_e2e_s", "num_preemptions")


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    num_requests, streams = (40, 3) if is_smoke else (800, 20)
    folder, key = _common.data_dir(), jax.random.key(SEED)
    rows = []
    for case in online.cases(folder, num_requests, streams, key):
        if case.server_name != SERVER or case.workload not in LITTLE_KV:
            continue
        for memory in ("plenty", "little"):
            begin = time.perf_counter()
            rows += _rows(case, memory, jax.random.fold_in(key, 1), is_smoke)
            seconds = time.perf_counter() - begin
            print(f"{case.workload}, {memory} memory: {seconds:.0f} s", flush=True)
    path = _common.write_results(
        "prediction_error",
        rows,
        SEED,
        requests=num_requests,
        streams=streams,
        server=SERVER,
        little_kv_tokens=LITTLE_KV,
    )
    _picture(pd.DataFrame(rows)).savefig(path.with_suffix(".png"), dpi=110)


def _rows(case: online.Case, memory: str, key: jax.Array, is_smoke: bool) -> list[dict[str, Any]]:
    """Every rule, kind and size of error, at every load."""
    server = case.server
    if memory == "little":
        server = server.replace(kv_capacity=LITTLE_KV[case.workload])
        every = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1), case.reqs)
        case = case._replace(limit=float(js.bounds.stability(every, server).rate))
    reqs = online.at_loads(case, LOADS)
    named = online.rules(server.clock)

    def served(rule: str, given: js.Requests) -> dict[str, np.ndarray]:
        out = js.serve(given, server, named[rule])
        return js.metrics.service_summary(given, out, **case.targets._asdict())

    base = served("fcfs", reqs)
    rows = _table(case, memory, "fcfs", "none", None, base, base, base)
    for rule in WITHOUT:
        found = served(rule, reqs)
        rows += _table(case, memory, rule, "none", None, found, base, found)
    for rule in RULES[:1] if is_smoke else RULES:
        for kind in KINDS[:1] if is_smoke else KINDS:
            exact = None
            for sigma in SIGMAS[::3] if is_smoke else SIGMAS:
                found = served(rule, _predicted(reqs, key, sigma, kind))
                exact = found if exact is None else exact
                rows += _table(case, memory, rule, kind, sigma, found, base, exact)
    return rows


def _predicted(reqs: js.Requests, key: jax.Array, sigma: float, kind: Any) -> js.Requests:
    """Predict each stream once, with the same errors at every load."""
    once = js.workloads.predict(reqs[0], key, sigma=sigma, kind=kind).predicted_output_tokens
    wide = np.broadcast_to(np.asarray(once), reqs.is_real.shape)
    return dataclasses.replace(reqs, predicted_output_tokens=wide)


def _table(
    case: online.Case,
    memory: str,
    rule: str,
    kind: str,
    sigma: float | None,
    found: dict[str, np.ndarray],
    base: dict[str, np.ndarray],
    exact: dict[str, np.ndarray],
) -> list[dict[str, Any]]:
    """Make a row a load: the metrics, the gain, and the share of it that is left."""
    rows = []
    for k, load in enumerate(LOADS):
        row = {"workload": case.workload, "memory": memory, "load": load}
        row |= {"rule": rule, "kind": kind, "sigma": sigma}
        row |= {name: float(found[name][k].mean()) for name in METRICS}
        for metric in ("mean_e2e_s", "mean_ttft_s"):
            mine, first, best = (each[metric][k] for each in (found, base, exact))
            gain, most = (first - mine) / first, (first - best) / first
            row |= _common.interval(f"gain_{metric}", estimate_means(gain))
            share = float(gain.mean() / most.mean()) if most.mean() > 0 else None
            row[f"left_{metric}"] = share  # of a loss with true lengths nothing can be left
        rows.append(row)
    return rows


def _picture(frame: pd.DataFrame) -> plt.Figure:
    """Draw the gain in mean latency over sigma, log-normal errors, a panel a case."""
    frame = frame[(frame["load"] == LOADS[1]) & (frame["kind"] != "classes")]
    panels = list(frame.groupby(["workload", "memory"], sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.0 * len(panels) + 0.3, 3.2), squeeze=False, layout="constrained"
    )
    for ax, ((workload, memory), own) in zip(axes[0], panels, strict=True):
        for rule, style in zip(RULES, ("-", "--", "-.", ":"), strict=True):
            line = own[(own["rule"] == rule) & (own["kind"] == "lognormal")]
            if len(line):
                ax.plot(line["sigma"], 100 * line["gain_mean_e2e_s"], ls=style, label=rule)
        for rule, color in zip(WITHOUT, ("0.3", "0.6"), strict=True):
            gain = own.loc[own["rule"] == rule, "gain_mean_e2e_s"]
            ax.axhline(100 * gain.iloc[0], color=color, lw=0.9, label=f"{rule}, no prediction")
        ax.set_title(f"{workload}\n{memory} memory", fontsize=9)
        ax.set_xlabel("sigma of the error")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("saved of the mean latency (%)")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    main()
