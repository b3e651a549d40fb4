"""What a rule is worth: it orders, the simulator or the engine runs, the objective counts."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxsched._lib.arrays import on_host
from jaxsched._lib.errors import InputError
from jaxsched.engine.simulate import simulate
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status, require_ok
from jaxsched.model.server import Server, require_server
from jaxsched.policies import prioritize, rule_name, serve
from jaxsched.policies.argument_order import inst_first
from jaxsched.tuning.objectives import Objective, mean_e2e, mean_latency
from jaxsched.tuning.objectives.given import require_objective


def evaluate(
    inst: Any,
    rule: Any,
    objective: Objective | None = None,
    *,
    server: Server | None = None,
) -> np.ndarray:
    """Objective of the hard rule: it orders each instance, or each queue, and is simulated.

    Args:
      inst: instances ``[.., n]``, or requests.
      rule: a rule, or the name of one.
      objective: ``(inst, out) -> [..]``, smaller is better; by default ``mean_latency`` of
        instances and ``objectives.mean_e2e()`` of requests.
      server: what serves the requests.

    Returns:
      float64 ``[..]``.

    Raises:
      ValueError: the rule gave a NaN, or requests come without a server.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> float(js.tuning.evaluate(inst, "fcfs"))
      3.0
    """
    judge: Objective = require_objective(
        default_objective(inst) if objective is None else objective
    )
    if isinstance(inst, Requests):
        return _served(inst, rule, judge, required(server))
    inst, rule = inst_first("evaluate", inst, rule)
    sched = simulate(inst, prioritize(inst, rule))
    require_ok(sched, f"rule {rule_name(rule)!r}")
    return np.asarray(judge(inst, Outcome.from_schedule(inst, sched)), np.float64)


def default_objective(inst: Any) -> Objective:
    """Return what is made small where nobody says."""
    return mean_e2e() if isinstance(inst, Requests) else mean_latency  # pyright: ignore[reportReturnType]


def required(server: Server | None) -> Server:
    """Return the server, or raise if there is none, or something else."""
    if server is None:
        raise InputError(
            "server",
            None,
            'give one, such as js.servers.get("llama3.1_8b_h100")',
            finding="is missing, and requests are served by one",
        )
    return require_server(server)


def _served(reqs: Requests, rule: Any, objective: Any, server: Server) -> np.ndarray:
    out = serve(reqs, server, rule)
    if (np.asarray(out.status) == Status.NAN_PRIORITY).any():
        raise InputError(
            "rule",
            rule,
            "guard its logarithms, divisions and roots",
            finding=f"gave NaN: {rule_name(rule)}",
        )
    xp = np if isinstance(out.completion, np.ndarray) else jax.numpy
    reqs = on_host(reqs) if xp is np else reqs
    return np.asarray(objective(reqs, out), np.float64)
