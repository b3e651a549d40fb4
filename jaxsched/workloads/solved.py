"""Small backlogs whose optima are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxsched.model.instance import Instance
from jaxsched.model.schedule import NOT_SCHEDULED, Schedule
from jaxsched.model.stack import stack

_DATA = Path(__file__).with_name("benchmark.jsonl")


class Benchmark(NamedTuple):
    """Backlogs ``[B, n]`` and their optima.

    Attributes:
      inst: the instances, padded to the longest.
      schedule: of each a schedule of least total latency.
      total_latency_rounds: int64 ``[B]``, the total latency of that schedule: the optimum.
      names: of the instances, such as ``"long_outputs_8"``, which has eight requests.
    """

    inst: Instance
    schedule: Schedule
    total_latency_rounds: np.ndarray
    names: tuple[str, ...]


def benchmark() -> Benchmark:
    """Give 42 small backlogs with 6 to 12 requests, and a schedule of least total latency of each.

    Six families have seven instances each. Lengths are uniform (``uniform``), outputs or prompts
    are long (``long_outputs``, ``long_prompts``), a third are summaries and the others chats
    (``two_kinds``), the largest request about fills the cache (``tight``), or volumes are nearly
    equal (``equal_volumes``). None was left out for being easy or hard.

    The optima are proven by :func:`jaxsched.bounds.exact`. The proof is not part of the data, but
    the schedules are, so :func:`jaxsched.verify` can judge them.

    Returns:
      The :class:`Benchmark`.

    Example:
      >>> import jaxsched as js
      >>> known = js.workloads.benchmark()
      >>> known.inst
      Instance(leading=(42,), n=12, num_requests=6..12, kv_capacity=...)
      >>> sched = js.simulate(known.inst, js.prioritize(known.inst, "smallest_volume"))
      >>> total = js.metrics.summary(known.inst, sched)["total_latency_rounds"]
      >>> bool((total >= known.total_latency_rounds).all())
      True

    Source:
      Ours: ``experiments/benchmark_set.py``.
    """
    rows = [json.loads(line) for line in _DATA.read_text().splitlines()]
    inst = stack(
        [
            Instance.from_lengths(
                row["prompt_tokens"], row["output_tokens"], kv_capacity=row["kv_capacity"]
            )
            for row in rows
        ]
    )
    start = np.full(inst.is_real.shape, NOT_SCHEDULED)
    for place, row in enumerate(rows):
        start[place, : len(row["start"])] = row["start"]
    return Benchmark(
        inst=inst,
        schedule=Schedule.from_starts(jax.tree.map(np.asarray, inst), start),
        total_latency_rounds=np.array([row["total_latency"] for row in rows]),
        names=tuple(row["name"] for row in rows),
    )
