"""The time-indexed linear programme, solved by HiGHS on the host."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError
from jaxsched.bounds._price_value import lagrangian
from jaxsched.bounds._time_indexed import (
    import_highspy,
    real_lengths,
    require_small,
    silent_solver,
    time_indexed_program,
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


def linear_program(inst: Instance, horizon: int | None = None) -> np.ndarray:
    r"""Lower bound on the total latency of every feasible schedule, by linear programming.

    The relaxation lets a request start in parts, :math:`x_{ik}` of it at round :math:`k`:

    .. math::
        \min \sum_{i,k} (k + o_i)\, x_{ik} \quad\text{with}\quad \sum_k x_{ik} = 1,\quad
        \sum_i \sum_{k < t \le k + o_i} (s_i + t - k)\, x_{ik} \le M,\quad x \ge 0

    for starts :math:`k = 0..T` and rounds :math:`t = 1..T`; memory is free after round T, so
    any T is valid. It is the limit of :func:`price` at the same T with a round to each block.
    For small instances: what HiGHS returns are prices, whose value is then worked out as in
    :func:`price`, so that the bound does not rest on the solver's tolerances.

    Args:
      inst: the instance, ``[.., n]``, with concrete values. Padding takes no part.
      horizon: :math:`T \ge 1`, in rounds. By default the sum of the outputs, which no optimal
        schedule exceeds, or as much of it as makes 5 million non-zeros.

    Returns:
      float64 ``[..]``, in rounds.

    Raises:
      ImportError: HiGHS is not installed.
      ValueError: the horizon is below 1, or the programme is too large.
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
    inst = jax.tree.map(np.asarray, inst)
    value = np.zeros(inst.kv_capacity.shape)
    for index in np.ndindex(value.shape):
        one = jax.tree.map(operator.itemgetter(index), inst)
        value[index] = _value_of_one(one, horizon)
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
    solver = _solved(inst, horizon)
    is_real = np.asarray(inst.is_real)
    share = np.zeros((is_real.size, horizon + 1))
    share[is_real] = np.asarray(solver.getSolution().col_value).reshape(-1, horizon + 1)
    return TimeIndexedSolution(solver.getInfo().objective_function_value, share)


def _value_of_one(inst: Instance, horizon: int | None) -> float:
    _, output = real_lengths(inst)
    if not output.size:
        return 0.0
    if horizon is None:
        horizon = min(int(output.sum()), max(1, MAX_NONZEROS // int(np.sum(output + 1)) - 1))
    row_dual = np.asarray(_solved(inst, horizon).getSolution().row_dual)
    prices = np.maximum(-row_dual[output.size :], 0)
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], inst)
    value, _ = lagrangian(one, np.arange(horizon + 1)[None], prices[None])
    return float(value[0])


def _solved(inst: Instance, horizon: int) -> Any:
    highspy = import_highspy()
    prompt, output = real_lengths(inst)
    if horizon < 1:
        raise InputError("horizon", horizon, "expected at least 1 round")
    require_small(output, horizon, MAX_NONZEROS)

    solver = silent_solver(highspy)
    solver.passModel(time_indexed_program(highspy, prompt, output, int(inst.kv_capacity), horizon))
    solver.run()
    if (status := solver.getModelStatus()) != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS stopped with: {solver.modelStatusToString(status)}")
    return solver
