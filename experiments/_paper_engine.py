"""The same orders on the online engine: what `sorted_f_paper.py` says in seconds of a server.

All requests are there at second 0. A step computes at most 2,048 tokens, so that long prompts are
cut to chunks, where a round of the paper prefills all that starts. Memory is counted in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import jaxsched as js

BUDGET, SEATS = 2048, 256


def engine_metrics(
    inst: js.Instance, orders: Mapping[str, np.ndarray], clock: js.clock.LinearClock
) -> dict[str, dict[str, np.ndarray]]:
    """Latency and makespan in seconds ``[..]`` by rule, each served in the order of its numbers."""
    zero = np.zeros(np.shape(inst.prompt_tokens))
    reqs = js.Requests.from_arrays(zero, inst.prompt_tokens, inst.output_tokens)
    server = js.Server(
        kv_capacity=inst.kv_capacity,
        block_size=1,
        clock=clock,
        max_num_batched_tokens=BUDGET,
        max_num_seqs=SEATS,
    )
    found = {}
    for rule, order in orders.items():
        out = js.serve(reqs.replace(priority=order), server, "priority")
        completion_s = np.asarray(out.completion_s)
        if not np.isfinite(completion_s).all():
            raise ValueError(f"the engine did not serve every request in the order of {rule!r}")
        found[rule] = {
            "mean_latency_engine_s": completion_s.mean(axis=-1),
            "p99_latency_engine_s": np.quantile(completion_s, 0.99, axis=-1),
            "makespan_engine_s": completion_s.max(axis=-1),
        }
    return found
