"""Serve by every online rule over the load: who keeps most requests within their targets.

Four workloads on two servers, from 40% to 120% of the rate that no rule keeps up with, by every
rule that decides without knowing the requests to come. Rules that read output lengths see the true
ones, `a_max` and `a_min` the two ends of an interval.
"""

from __future__ import annotations

import time
from typing import Any

import _common
import _online_cases as online
import jax
import numpy as np
from _online_picture import picture

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means
from jaxsched.studies.rates.intervals import crossing, jackknife, means_without_one

SEED = 0
LOADS = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.2])
ATTAINMENT = 0.9
BASELINE = "fcfs"
#: These ask every request in every step. Streams of long prompts take so many that a rule needs up
#: to ten minutes.
LONG_WORKLOAD = "mooncake_conversation"
SLOW_RULES = (
    "token_response_ratio",
    "a_min",
    "skip_join_mlfq",
    "geometric_slicing",
    "virtual_token_counter",
    "least_attained_service",
)
METRICS = (
    "attainment",
    "mean_ttft_s",
    "p99_ttft_s",
    "mean_e2e_s",
    "p99_e2e_s",
    "mean_tpot_s",
    "num_preemptions",
)


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    num_requests, streams = (40, 2) if is_smoke else (500, 20)
    loads = LOADS[::5] if is_smoke else LOADS
    folder, key = _common.data_dir(), jax.random.key(SEED)
    if folder is None:
        print("no traces: set JAXSCHED_DATA to a folder of them to have them served")
    table, rates = [], []
    for case in online.cases(folder, num_requests, streams, key):
        begin = time.perf_counter()
        reqs = online.at_loads(case, loads)
        attainment: dict[str, np.ndarray] = {}
        for name, rule in online.rules(case.server.clock).items():
            if is_smoke and name not in (BASELINE, "uniboost"):
                continue
            if case.workload == LONG_WORKLOAD and name in SLOW_RULES:
                continue
            out = js.serve(online.predicted_for(name, reqs, key), case.server, rule)
            found = js.metrics.service_summary(reqs, out, **case.targets._asdict())
            attainment[name] = found["attainment"]
            table += [
                _row(case, load, name, {metric: found[metric][k] for metric in METRICS})
                for k, load in enumerate(loads)
            ]
        rates += _rate_rows(case, loads, attainment)
        seconds = time.perf_counter() - begin
        print(f"{case.workload} on {case.server_name}: {seconds:.0f} s", flush=True)

    parts = {"rates": rates}
    path = _common.write_results(
        "online_rules",
        table,
        SEED,
        parts,
        requests=num_requests,
        streams=streams,
        attainment=ATTAINMENT,
        targets={
            server: {name: list(own) for name, own in of.items()} | {"otherwise": list(usual)}
            for (server, of), usual in zip(
                online.TARGETS.items(), online.USUAL_TARGETS.values(), strict=True
            )
        },
    )
    picture(table).savefig(path.with_suffix(".png"), dpi=110)


def _row(
    case: online.Case, load: float, rule: str, metrics: dict[str, np.ndarray]
) -> dict[str, Any]:
    row = {"workload": case.workload, "server": case.server_name, "load": load, "rule": rule}
    row |= _common.interval("attainment", estimate_means(metrics.pop("attainment")))
    return row | {name: float(value.mean()) for name, value in metrics.items()}


def _rate_rows(
    case: online.Case, loads: np.ndarray, attainment: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Find the rate at which the goal is just met, and its change from the first rule's, paired."""
    crossings = {
        name: np.array(
            [
                crossing(loads, mean, ATTAINMENT, is_falling=True)
                for mean in means_without_one(values)
            ]
        )
        for name, values in attainment.items()
    }
    rows = []
    for name, loads_at_goal in crossings.items():
        row = {"workload": case.workload, "server": case.server_name, "rule": name}
        row |= _common.interval("load", jackknife(loads_at_goal, None))
        row["requests_per_s"] = case.limit * float(loads_at_goal[0])
        change = jackknife(loads_at_goal / crossings[BASELINE] - 1, None)
        rows.append(row | _common.interval("change", change))
    return rows


if __name__ == "__main__":
    main()
