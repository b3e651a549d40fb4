"""Rules in rounds beside what any rule needs with foresight: part of `online_rules.py`.

A step takes one round, and memory is all that limits it. The server looks ahead, as MC-SF does, so
that nobody is evicted.
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

LOADS = np.array([0.8, 1.0])
KV_CAPACITY, LONG_CAPACITY = 16_492, 384_000
#: Static rules and one that is not. Those that evict, or have a state, need minutes a case here;
#: and without a prefill that takes time `uniboost` is `fcfs`.
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
    "a_max",
)
ROUNDS = js.Server(kv_capacity=KV_CAPACITY, block_size=1, max_num_seqs=256)


def hindsight_rows(folder: Path | None, key: jax.Array, is_smoke: bool) -> list[dict[str, Any]]:
    """Total latency of every rule over the price bound, for each workload and load."""
    num_requests, streams = (30, 2) if is_smoke else (200, 20)
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
    server = dataclasses.replace(server, admission="look_ahead")
    bound = js.bounds.hindsight(reqs, server)
    named = online.rules(None)
    rows = []
    for name in RULES[:1] if is_smoke else RULES:
        out = js.serve(online.predicted_for(name, reqs, key), server, named[name])
        over_bound = np.asarray(out.latency).sum(axis=-1) / bound
        rows.append({"rule": name} | _common.interval("over_bound", estimate_means(over_bound)))
    return rows
