"""The fewest servers, or the least memory, within targets at a given rate."""

from __future__ import annotations

import math
from typing import Any

import jax

from jaxsched._lib.errors import InputError
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.studies.rates.axes import Memory, Servers
from jaxsched.studies.rates.plan_rate import checked_tolerance
from jaxsched.studies.rates.planning import Vary, planned
from jaxsched.studies.rates.service_plan import ServicePlan
from jaxsched.studies.rates.settings import crossed
from jaxsched.studies.rates.streams import at_rates, flattened
from jaxsched.studies.serving.goal import Goal, checked_goal
from jaxsched.studies.serving.rules import ServingRules


def plan_servers(
    reqs: Requests,
    server: Server,
    rules: ServingRules = "fcfs",
    *,
    rate: float | None = None,
    vary: Vary = None,
    attainment: float = 0.9,
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    e2e_slo_s: float | None = None,
    key: jax.Array | None = None,
    progress: bool | None = None,
) -> ServicePlan:
    """Find the fewest equal servers with which enough requests meet their targets.

    Request i of a stream goes to server ``i mod k``, round-robin, whatever the state of the
    servers. Each server orders its own queue. The answer is the least k tried whose mean
    attainment over streams is enough: k doubles from 1 until it is, and then the gap below is
    bisected, so that k - 1 was tried and misses. This is simulated, not the rate divided by what
    one server takes.

    Args:
      reqs: see :func:`plan_rate`.
      server: one of the servers.
      rules: see :func:`plan_rate`.
      rate: requests a second of each whole stream; None keeps their own times.
      vary: see :func:`plan_rate`.
      attainment: likewise.
      ttft_slo_s: likewise.
      tpot_slo_s: likewise.
      e2e_slo_s: likewise.
      key: likewise.
      progress: likewise.

    Returns:
      A :class:`ServicePlan`, whose ``value`` counts servers; NaN where as many as requests are
      not enough.

    Raises:
      ValueError: see :func:`plan_rate`.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays(np.arange(40.0), [64] * 40, [8] * 40)
      >>> server = js.Server(kv_capacity=4096, max_num_seqs=2)
      >>> js.plan_servers(reqs, server, ttft_slo_s=2.5).value.tolist()
      [[4.0]]
    """
    flat = _at_rate(flattened(reqs, "plan_servers"), rate)
    goal = checked_goal(flat, Goal(attainment, ttft_slo_s, tpot_slo_s, e2e_slo_s))
    return planned(
        Servers(flat, goal.targets), flat, crossed(server, vary), rules, goal, key, progress
    )


def plan_memory(
    reqs: Requests,
    server: Server,
    rules: ServingRules = "fcfs",
    *,
    rate: float | None = None,
    vary: Vary = None,
    attainment: float = 0.9,
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    e2e_slo_s: float | None = None,
    tolerance: float = 0.01,
    key: jax.Array | None = None,
    progress: bool | None = None,
) -> ServicePlan:
    """Find the least KV capacity with which enough requests meet their targets.

    Eight capacities of equal ratio are served as one batch, from the smallest request alone to
    all requests of a stream at once. The gap below the first that is enough is cut into nine
    until it is within the tolerance, or one token. Requests that a capacity refuses miss their
    targets. More memory need not mean better service: :meth:`ServicePlan.notes` names a larger
    capacity that was seen to miss.

    Args:
      reqs: see :func:`plan_rate`.
      server: the server; its own ``kv_capacity`` does not count.
      rules: see :func:`plan_rate`.
      rate: requests a second of each stream; None keeps their own times.
      vary: see :func:`plan_rate`.
      attainment: likewise.
      ttft_slo_s: likewise.
      tpot_slo_s: likewise.
      e2e_slo_s: likewise.
      tolerance: gap, relative to the capacity, that may be left below it.
      key: likewise.
      progress: likewise.

    Returns:
      A :class:`ServicePlan`, whose ``value`` counts tokens; NaN where room for all is not enough.

    Raises:
      ValueError: see :func:`plan_rate`.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays(np.arange(40.0), [64] * 40, [8] * 40)
      >>> plan = js.plan_memory(reqs, js.Server(kv_capacity=1), ttft_slo_s=2.5)
      >>> plan.value.tolist()
      [[625.0]]
    """
    flat = _at_rate(flattened(reqs, "plan_memory"), rate)
    goal = checked_goal(flat, Goal(attainment, ttft_slo_s, tpot_slo_s, e2e_slo_s))
    if vary is not None and "kv_capacity" in vary:
        raise InputError("vary", vary, "leave it out", finding="names kv_capacity, looked for here")
    axis = Memory(flat, goal.targets, checked_tolerance(tolerance))
    return planned(axis, flat, crossed(server, vary), rules, goal, key, progress)


def _at_rate(reqs: Requests, rate: Any) -> Requests:
    """Scale each stream to a rate, or leave its times."""
    if rate is None:
        return reqs
    if not (isinstance(rate, (int, float)) and math.isfinite(rate) and rate > 0):
        raise InputError("rate", rate, "expected a finite number of requests a second > 0")
    return jax.tree.map(lambda leaf: leaf[0], at_rates(reqs, [rate]))
