"""The exact optimum of small instances, by branch and bound."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError
from jaxsched.bounds._time_indexed import (
    import_highspy,
    real_lengths,
    require_small,
    silent_solver,
    time_indexed_program,
)
from jaxsched.bounds._volume import volume
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import NOT_SCHEDULED, Schedule

MAX_NONZEROS = 500_000  # far beyond what is solved to the end; the time limit still works there
_TOLERANCE = 1e-6  # of HiGHS, on a bound


class Optimum(NamedTuple):
    """What :func:`exact` found.

    Attributes:
      schedule: the best schedule found; its total latency is ``upper``.
      lower: no schedule has less total latency than this, in whole rounds.
      upper: total latency of ``schedule``.
      status: ``"optimal"`` if ``lower`` has met ``upper``, or ``"time_limit"``.
    """

    schedule: Schedule
    lower: int
    upper: int
    status: Literal["optimal", "time_limit"]


def exact(inst: Instance, *, time_limit_s: float = 60.0) -> Optimum:
    r"""Schedule of least total latency, with its proof, for about ten requests.

    The programme of :func:`linear_program` with every :math:`x_{ik}` 0 or 1 and completions by
    round :math:`\sum_i o_i`. Some optimal schedule keeps to that: if no request were active in a
    round, everything later could start one round earlier.

    No strict order need lead to the schedule found: starts are chosen one by one, and a
    request may wait although it would fit.

    Args:
      inst: one instance ``[n]`` with concrete values. Padding is not scheduled.
      time_limit_s: seconds after which the best schedule so far is returned.

    Returns:
      An :class:`Optimum`. In any case there is a schedule: if nothing better, one request after
      another.

    Raises:
      ImportError: HiGHS is not installed.
      ValueError: the instance has leading axes or no requests, or is too large.
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
    prompt, output = real_lengths(inst)
    if not output.size:
        raise ValueError("the instance has no real requests, so nothing to schedule")
    if not time_limit_s > 0:
        raise InputError("time_limit_s", time_limit_s, "expected seconds > 0")
    horizon = int(output.sum())
    require_small(output, horizon, MAX_NONZEROS)

    program = time_indexed_program(highspy, prompt, output, int(inst.kv_capacity), horizon)
    completes_in_time = np.arange(horizon + 1) + output[:, None] <= horizon
    program.col_upper_ = completes_in_time.reshape(-1).astype(np.float64)
    program.integrality_ = [highspy.HighsVarType.kInteger] * program.num_col_

    solver = silent_solver(highspy)
    solver.setOptionValue("time_limit", float(time_limit_s))
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 1 - 1e-3)  # total latency is a whole number
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status not in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kTimeLimit):
        raise RuntimeError(f"HiGHS stopped with: {solver.modelStatusToString(status)}")

    starts = _one_after_another(output)
    if np.isfinite(solver.getInfo().objective_function_value):
        chosen = np.asarray(solver.getSolution().col_value).reshape(-1, horizon + 1).argmax(axis=1)
        starts = min(starts, chosen, key=np.sum)
    upper = int(np.sum(starts + output))
    proven = max(solver.getInfo().mip_dual_bound * (1 - _TOLERANCE), float(volume(inst)))
    lower = min(upper, math.ceil(proven))

    start = np.full(np.shape(inst.is_real), NOT_SCHEDULED)
    start[np.asarray(inst.is_real)] = starts
    return Optimum(
        schedule=Schedule.from_starts(jax.tree.map(np.asarray, inst), start),
        lower=lower,
        upper=upper,
        status="optimal" if lower == upper else "time_limit",
    )


def _one_after_another(output: np.ndarray) -> np.ndarray:
    """Give starts that are feasible in any cache, shortest output first.

    HiGHS is not given these to start from: when presolve then finds the optimum, release 1.16
    reports its value but returns the solution it was given.
    """
    order = np.argsort(output, kind="stable")
    start = np.empty_like(output)
    start[order] = np.cumsum(output[order]) - output[order]
    return start
