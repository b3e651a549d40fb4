"""One log, cut into runs: some to choose by, others to check the choice on."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from jaxsched._lib.errors import InputError, integer
from jaxsched.model.requests import Requests

_USUAL_REQUESTS = 1000
_FEWEST_REQUESTS = 20  # of a run; fewer say nothing of a queue


def cut(reqs: Requests, num_runs: int, num_requests: int | None) -> tuple[Requests, Requests]:
    """Cut a log into ``2 num_runs`` runs of consecutive requests, spread evenly over it.

    Runs take turns: the first is to choose by, the second to check on, and so on, so that both
    halves see the whole log. They overlap only where the log is too short for all of them.

    Args:
      reqs: the log, ``[n]``, without padding.
      num_runs: runs in each half, B.
      num_requests: requests of each run; None for 1000, or fewer where the log is short.

    Returns:
      Runs to choose by and runs to check on, each ``[B, num_requests]``.
    """
    total = reqs.is_real.shape[-1]
    integer("num_runs", num_runs)
    least = _FEWEST_REQUESTS * (2 * num_runs if num_requests is None else 1)
    if total < least:
        finding = f"has {total} requests, too few for {2 * num_runs} runs"
        raise InputError("reqs", "", f"expected at least {least}", finding=finding)
    if num_requests is None:
        num_requests = min(_USUAL_REQUESTS, total // (2 * num_runs))
    integer("num_requests", num_requests, _FEWEST_REQUESTS, total)
    begin = np.linspace(0, total - num_requests, 2 * num_runs).astype(np.int64)
    rows = begin[:, None] + np.arange(num_requests)
    runs = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], reqs)
    runs = dataclasses.replace(runs, arrival_s=runs.arrival_s - runs.arrival_s[:, :1])
    return runs[0::2], runs[1::2]


def overlap(total: int, num_runs: int, num_requests: int) -> float:
    """Say how many times the average request of a log stands in the runs."""
    return 2 * num_runs * num_requests / total
