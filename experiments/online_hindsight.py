"""Compare rules in rounds with what any rule needs that knows all requests to come.

A step takes one round, and memory is all that limits it. The server looks ahead, as MC-SF does, so
that nobody is evicted. Two rules evict by design; what they evict starts again from nothing. Rules
that pause requests are left out, since the bound lets nobody pause.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import _common
import _online_cases as online
import jax
import numpy as np

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means

SEED = 0
LOADS = np.array([0.8, 1.0])
KV_CAPACITY, LONG_CAPACITY = 16_492, 384_000
#: Without a prefill that takes time `uniboost` is `fcfs`, and without targets so is `least_slack`.
RULES = (
    "fcfs",
    "shortest_prompt",
    "shortest_output",
    "total_size",
    "smallest_volume",
    "length_weighted",
    "aged_prompt",
    "aged_size",
    "gamma_boost",
    "highest_response_ratio",
    "token_response_ratio",
    "virtual_token_counter",
    "least_attained_service",
    "a_max",
)
RESTARTING = ("a_min", "geometric_slicing")
ROUNDS = js.Server(kv_capacity=KV_CAPACITY, block_size=1, max_num_seqs=256)


def hindsight_rows(
    folder: Path | None, num_requests: int, streams: int, is_smoke: bool
) -> list[dict[str, Any]]:
    """Total latency of every rule over the price bound, for each workload and load."""
    key = jax.random.key(SEED)
    rows = []
    for workload, reqs in online.workloads(folder, num_requests, streams, key):
        is_long = workload == "mooncake_conversation"
        server = dataclasses.replace(
            ROUNDS,
            kv_capacity=LONG_CAPACITY if is_long else KV_CAPACITY,
            max_num_batched_tokens=2 * (LONG_CAPACITY if is_long else KV_CAPACITY),
        )
        flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1), reqs)
        limit = float(js.bounds.stability(flat, server).rate)
        for load in LOADS[:1] if is_smoke else LOADS:
            at_load = dataclasses.replace(
                reqs, arrival_s=np.asarray(reqs.arrival_s) / (limit * load)
            )
            rows += [
                {"workload": workload, "load": load} | row
                for row in _beside_bound(at_load, server, key, is_smoke)
            ]
        print(f"{workload} in rounds", flush=True)
        if is_smoke:
            break
    return rows


def _beside_bound(
    reqs: js.Requests, server: js.Server, key: jax.Array, is_smoke: bool
) -> list[dict[str, Any]]:
    """Each rule's total latency over the bound of its server, by stream, averaged."""
    # Outputs of an interval's upper end are never outlived, so that nobody is evicted.
    ahead = dataclasses.replace(server, admission="look_ahead")
    again = dataclasses.replace(server, admission="prompt", preemption="restart")
    bounds = {own: js.bounds.hindsight(reqs, own) for own in (ahead, again)}
    named = online.rules(None)
    rows = []
    for name in RULES[:1] if is_smoke else RULES + RESTARTING:
        own = again if name in RESTARTING else ahead
        out = js.serve(online.predicted_for(name, reqs, key), own, named[name])
        over_bound = np.asarray(out.latency).sum(axis=-1) / bounds[own]
        rows.append({"rule": name} | _common.interval("over_bound", estimate_means(over_bound)))
    return rows


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    num_requests, streams = (30, 2) if is_smoke else (200, 20)
    folder = _common.data_dir()
    if folder is None:
        print("no traces: set JAXSCHED_DATA to a folder of them to have them served")
    rows = hindsight_rows(folder, num_requests, streams, is_smoke)
    _common.write_results(
        "online_hindsight",
        rows,
        SEED,
        requests=num_requests,
        streams=streams,
        kv_capacity=KV_CAPACITY,
    )


if __name__ == "__main__":
    main()
