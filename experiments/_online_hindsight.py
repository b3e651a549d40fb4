"""Rules in rounds beside what any rule needs with foresight: part of `online_rules.py`.

A step takes one round, and memory is all that limits it. Rules that push out who runs need a server
where that begins anew; the others one that looks ahead, as MC-SF does.
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

LOADS = np.array([0.8, 1.0, 1.2])
KV_CAPACITY, LONG_CAPACITY = 16_492, 384_000
#: Those that evict, and one whose predictions requests outlive, for which the bound does not hold.
BEGINNING_ANEW = (
    "uniboost, evicting",
    "shortest_remaining",
    "a_max",
    "a_min",
    "skip_join_mlfq",
    "geometric_slicing",
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
    servers = {
        "looks ahead": dataclasses.replace(server, admission="look_ahead"),
        "begins anew": dataclasses.replace(server, preemption="restart"),
    }
    bound = {kind: js.bounds.hindsight(reqs, own) for kind, own in servers.items()}
    rows = []
    for name, rule in online.rules(None).items():
        if is_smoke and name not in ("shortest_output", "geometric_slicing"):
            continue
        kind = "begins anew" if name in BEGINNING_ANEW else "looks ahead"
        out = js.serve(online.predicted_for(name, reqs, key), servers[kind], rule)
        over_bound = np.asarray(out.latency).sum(axis=-1) / bound[kind]
        row = {"rule": name, "server": kind}
        rows.append(row | _common.interval("over_bound", estimate_means(over_bound)))
    return rows
