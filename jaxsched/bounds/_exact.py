"""The exact optimum of small instances, by branch and bound."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError
from jaxsched.bounds._busy import mean_busy
from jaxsched.bounds._list_schedules import best_of_simple_rules, improved
from jaxsched.bounds._releases import releases_on_host
from jaxsched.bounds._time_indexed import (
    Backlog,
    StartRounds,
    import_highspy,
    real_requests,
    require_small,
    silent_solver,
    time_indexed_program,
)
from jaxsched.bounds._volume import volume
from jaxsched.bounds._weights import ROUNDING
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import NOT_SCHEDULED, Schedule

MAX_NONZEROS = 500_000  # far beyond what is solved to the end; the time limit still works there
_TOLERANCE = 1e-6  # of HiGHS, on a bound
_MOVES_PER_REQUEST = 20  # tried where time was too short, a millisecond each


class Optimum(NamedTuple):
    """What :func:`exact` found.

    Attributes:
      schedule: the best schedule found.
      lower: no schedule has less total latency than this, or with releases total flow time; in
        whole rounds. With weights the weighted sum, a float.
      upper: the same of ``schedule``.
      status: ``"optimal"`` if ``lower`` has met ``upper``, with weights up to 2 parts in a million,
        or ``"time_limit"``.
    """

    schedule: Schedule
    lower: int | float
    upper: int | float
    status: Literal["optimal", "time_limit"]


def exact(inst: Instance, *, release_rounds: Any = None, time_limit_s: float = 60.0) -> Optimum:
    r"""Schedule of least total latency, with its proof, for about ten requests.

    The programme of :func:`linear_program` with every :math:`x_{ik}` 0 or 1 and completions by
    round :math:`\max_i a_i + \sum_i o_i`. Some optimal schedule keeps to that: if no request were
    active in a round after the last release, everything later could start one round earlier.

    The search begins with the best schedule of five rules, in strict order and by earliest fit:
    first come, shortest prompt, shortest output, total size and smallest volume. With its total
    :math:`U`, starts after round :math:`a_i + U - \sum_j o_j` are left out.
    Where time runs out, moves in the order of the best schedule are tried at the end.

    With weights :math:`w_i`, the optimum is of :math:`\sum w_i c_i`, or
    :math:`\sum w_i (c_i - a_i)`. Volume over weight is then a sixth rule, and starts are left out
    that would alone cost more than the best schedule.

    No strict order need lead to the schedule found: starts are chosen one by one, and a
    request may wait although it would fit.

    Args:
      inst: one instance ``[n]`` with concrete values. Padding is not scheduled.
      release_rounds: :math:`a_i \ge 0`, first starts allowed, integers ``[n]``; None for all 0. The
        optimum is then of total flow time, :math:`\sum (c_i - a_i)`.
      time_limit_s: seconds of search, after which the best schedule so far is returned.

    Returns:
      An :class:`Optimum`, never worse than the rules that the search begins with.

    Raises:
      ImportError: HiGHS is not installed.
      ValueError: the instance has leading axes or no requests, a release is not an integer >= 0,
        or the programme is too large.
      RuntimeError: HiGHS gave up.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=6)
      >>> best = js.bounds.exact(inst)
      >>> best.schedule.start.tolist(), best.lower, best.upper, best.status
      ([0, 2], 8, 8, 'optimal')
    """
    refuse_traced("exact looks at values", "call it outside", inst)
    highspy = import_highspy()
    first, release = releases_on_host(inst, release_rounds)
    backlog = real_requests(inst, release)
    if not backlog.output.size:
        raise ValueError("the instance has no real requests, so nothing to schedule")
    if not time_limit_s > 0:
        raise InputError("time_limit_s", time_limit_s, "expected seconds > 0")

    known = best_of_simple_rules(backlog)
    starts = _no_worse_than(backlog, known)
    horizon = int(np.max(starts.latest + backlog.output))
    require_small(backlog.output, starts, horizon, MAX_NONZEROS)
    program = time_indexed_program(highspy, backlog, starts, horizon)
    program.col_upper_ = np.ones(program.num_col_)
    program.integrality_ = [highspy.HighsVarType.kInteger] * program.num_col_

    solver = silent_solver(highspy)
    solver.setOptionValue("time_limit", float(time_limit_s))
    solver.setOptionValue("mip_rel_gap", 0.0)
    if backlog.weight is None:
        solver.setOptionValue("mip_abs_gap", 1 - 1e-3)  # total latency is a whole number
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status not in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kTimeLimit):
        raise RuntimeError(f"HiGHS stopped with: {solver.modelStatusToString(status)}")

    # HiGHS is not given these to start from: when presolve then finds the optimum, release 1.16
    # reports its value but returns the solution it was given.
    best = known
    if np.isfinite(solver.getInfo().objective_function_value):
        best = min(known, _chosen(starts, solver.getSolution().col_value), key=backlog.weighed)
    if status == highspy.HighsModelStatus.kTimeLimit:
        best = improved(backlog, best, _MOVES_PER_REQUEST * best.size)
    upper = backlog.weighed(best + backlog.output - backlog.release).item()
    proven = solver.getInfo().mip_dual_bound * (1 - _TOLERANCE)
    quick = mean_busy(inst, release_rounds=release_rounds)
    if release is None:
        quick = max(quick, volume(inst))
    lower, slack = max(proven, float(quick)), 0.0
    if backlog.weight is None:
        lower = math.ceil(lower)
    else:
        slack = 2 * _TOLERANCE * upper
    lower = min(upper, lower)

    start = np.full(np.shape(inst.is_real), NOT_SCHEDULED)
    start[np.asarray(inst.is_real)] = best + int(first)
    return Optimum(
        schedule=Schedule.from_starts(jax.tree.map(np.asarray, inst), start),
        lower=lower,
        upper=upper,
        status="optimal" if upper - lower <= slack else "time_limit",
    )


def _no_worse_than(backlog: Backlog, known: np.ndarray) -> StartRounds:
    """Allow starts of schedules in which all together wait no longer than in the one ``known``."""
    longest = backlog.weighed(known - backlog.release)
    if backlog.weight is not None:
        longest = np.floor(longest / backlog.weight * (1 + ROUNDING)).astype(np.int64)
    latest = np.minimum(backlog.release + longest, backlog.last_round - backlog.output)
    return StartRounds(backlog.release, latest)


def _chosen(starts: StartRounds, shares: Any) -> np.ndarray:
    """Start of each request: where its share of 1 is, or most of it."""
    parts = np.split(np.asarray(shares), np.cumsum(starts.count)[:-1])
    return starts.earliest + np.array([int(part.argmax()) for part in parts])
