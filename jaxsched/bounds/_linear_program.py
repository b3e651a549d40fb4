"""The time-indexed linear programme, solved by HiGHS on the host."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError
from jaxsched.bounds._price_value import lagrangian
from jaxsched.bounds._releases import releases_on_host
from jaxsched.bounds._time_indexed import (
    Backlog,
    import_highspy,
    real_requests,
    require_small,
    silent_solver,
    time_indexed_program,
    until,
)
from jaxsched.model.instance import Instance

MAX_NONZEROS = 5_000_000  # one million took eight seconds on one core, 60 requests


class TimeIndexedSolution(NamedTuple):
    """What :func:`solve_time_indexed_lp` found.

    Attributes:
      value: the optimum, a lower bound on TEL up to the solver's tolerance (relative 1e-7).
      start_share: float64 ``[n, horizon + 1]``; ``start_share[i, k]`` is the part of request i
        that starts at round k. Rows sum to 1, but those of padding are 0.
    """

    value: float
    start_share: np.ndarray


def linear_program(
    inst: Instance, horizon: int | None = None, *, release_rounds: Any = None
) -> np.ndarray:
    r"""Lower bound on the total latency of every feasible schedule, by linear programming.

    The relaxation lets a request start in parts, :math:`x_{ik}` of it at round :math:`k`:

    .. math::
        \min \sum_{i,k} (k + o_i)\, x_{ik} \quad\text{with}\quad \sum_k x_{ik} = 1,\quad
        \sum_i \sum_{k < t \le k + o_i} (s_i + t - k)\, x_{ik} \le M,\quad x \ge 0

    for starts :math:`k = 0..T` and rounds :math:`t = 1..T`; memory is free after round T, so
    any T is valid. It is the limit of :func:`price` at the same T with a round to each block.
    For small instances: what HiGHS returns are prices, whose value is then worked out as in
    :func:`price`, so that the bound does not rest on the solver's tolerances.

    Where request :math:`i` cannot start before round :math:`a_i`, its starts are
    :math:`k = a_i..T`, or :math:`a_i` alone where that is later, and the bound is on total flow
    time, :math:`\sum (c_i - a_i)`.

    With weights, the objective is :math:`\sum w_i (k + o_i)\, x_{ik}`, and the bound is on
    :math:`\sum w_i c_i`, or :math:`\sum w_i (c_i - a_i)`.

    Args:
      inst: the instance, ``[.., n]``, with concrete values. Padding takes no part.
      horizon: :math:`T \ge 1`, in rounds. By default the last release and the sum of the outputs,
        which some optimal schedule does not exceed, or as much of it as makes 5 million non-zeros.
      release_rounds: :math:`a_i \ge 0`, integers ``[n]`` or ``[.., n]``; None for all 0.

    Returns:
      float64 ``[..]``, in rounds.

    Raises:
      ImportError: HiGHS is not installed.
      ValueError: the horizon is below 1, a release is not an integer >= 0, or the programme is too
        large.
      RuntimeError: HiGHS gave up.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=6)
      >>> round(float(js.bounds.linear_program(inst)), 3)
      6.96

    Source:
      Wang, Ye, Zhou, *LLM Serving Optimization with Variable Prefill and Decode Lengths*, 2025,
      arXiv:2508.06133 (the programme); the value from its prices is ours.
    """
    refuse_traced("linear_program looks at values", "call it outside", inst)
    if horizon is not None and horizon < 1:
        raise InputError("horizon", horizon, "expected at least 1 round")
    inst = jax.tree.map(np.asarray, inst)
    first, release = releases_on_host(inst, release_rounds)
    if release is None:
        release = np.zeros(inst.is_real.shape, np.int64)
    value = np.zeros(inst.kv_capacity.shape)
    for index in np.ndindex(value.shape):
        one, released = jax.tree.map(operator.itemgetter(index), (inst, release))
        left = None if horizon is None else max(1, horizon - int(first[index]))
        value[index] = _value_of_one(one, released, left)
    return value


def solve_time_indexed_lp(inst: Instance, horizon: int) -> TimeIndexedSolution:
    r"""Solve the programme of :func:`linear_program` for one instance, and keep the solution.

    Args:
      inst: one instance ``[n]`` with concrete values.
      horizon: :math:`T \ge 1`, in rounds.

    Returns:
      The value and the solution.

    Raises:
      ImportError: HiGHS is not installed.
      ValueError: the instance has leading axes, the horizon is below 1, or the programme is too
        large.
      RuntimeError: HiGHS gave up.

    Example:
      >>> import jaxsched as js
      >>> from jaxsched.bounds._linear_program import solve_time_indexed_lp
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=6)
      >>> solution = solve_time_indexed_lp(inst, horizon=6)
      >>> solution.start_share.shape
      (2, 7)
      >>> round(solution.value, 3)
      6.96
    """
    if horizon < 1:
        raise InputError("horizon", horizon, "expected at least 1 round")
    solver = _solved(real_requests(inst), horizon)
    is_real = np.asarray(inst.is_real)
    share = np.zeros((is_real.size, horizon + 1))
    share[is_real] = np.asarray(solver.getSolution().col_value).reshape(-1, horizon + 1)
    return TimeIndexedSolution(solver.getInfo().objective_function_value, share)


def _value_of_one(inst: Instance, release: np.ndarray, horizon: int | None) -> float:
    """Bound one instance whose first release is 0."""
    backlog = real_requests(inst, release)
    if not backlog.output.size:
        return 0.0
    if horizon is None:
        most = MAX_NONZEROS // int(np.sum(backlog.output + 1)) - 1
        horizon = min(backlog.last_round, max(1, most))
    row_dual = np.asarray(_solved(backlog, horizon).getSolution().row_dual)
    prices = np.maximum(-row_dual[backlog.output.size :], 0)
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], inst)
    value, _ = lagrangian(one, np.arange(horizon + 1)[None], prices[None], release[None])
    return float(value[0])


def _solved(backlog: Backlog, horizon: int) -> Any:
    highspy = import_highspy()
    starts = until(backlog, horizon)
    require_small(backlog.output, starts, horizon, MAX_NONZEROS)

    solver = silent_solver(highspy)
    solver.passModel(time_indexed_program(highspy, backlog, starts, horizon))
    solver.run()
    if (status := solver.getModelStatus()) != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS stopped with: {solver.modelStatusToString(status)}")
    return solver
