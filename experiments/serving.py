"""What does the order of the queue change at a busy server? The table and picture of the guide.

Requests of `mixed` arrive at random at a server with little memory, as fast as it can just serve
them. The picture is of the first stream.
"""

from __future__ import annotations

import _common
import jax
import matplotlib

import jaxsched as js

matplotlib.use("agg")

SEED = 0
SERVER, KV_CAPACITY = "llama3.1_8b_h100", 24_000
RULES = ("fcfs", "smallest_volume")
RATE = 14.0
TARGETS = {"ttft_slo_s": 1.0, "tpot_slo_s": 0.05}


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    requests, streams = (20, 2) if is_smoke else (600, 16)
    key = jax.random.key(SEED)
    inst = js.workloads.mixed(key, requests, batch=streams)
    reqs = js.workloads.poisson(jax.random.fold_in(key, 1), inst, RATE)
    server = js.servers.get(SERVER).replace(kv_capacity=KV_CAPACITY)
    report = js.compare(reqs, RULES, server=server, **TARGETS)
    path = _common.write_results(
        "serving",
        report.records(),
        SEED,
        workload="mixed",
        requests=requests,
        streams=streams,
        rate=RATE,
        server=SERVER,
        kv_capacity=KV_CAPACITY,
        **TARGETS,
    )
    first = js.compare(reqs[0], RULES, server=server, **TARGETS)
    axes = first.plot(title=f"workload mixed, {RATE:g} requests a second, server {SERVER}")
    axes["ttft"].figure.savefig(path.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
