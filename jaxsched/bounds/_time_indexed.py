"""The time-indexed programme over start rounds, as HiGHS takes it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from jaxsched.model.instance import Instance


def import_highspy() -> ModuleType:
    """Import HiGHS, or say how to install it."""
    try:
        import highspy
    except ImportError as error:
        raise ImportError(
            'the linear programme needs HiGHS: pip install "jaxsched[exact]"'
        ) from error
    return highspy


def real_lengths(inst: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and output tokens of the real requests of one instance, int64."""
    if np.ndim(inst.kv_capacity):
        raise ValueError(f"expected one instance, not leading axes {np.shape(inst.kv_capacity)}")
    is_real = np.asarray(inst.is_real)
    return (
        np.asarray(inst.prompt_tokens, np.int64)[is_real],
        np.asarray(inst.output_tokens, np.int64)[is_real],
    )


def require_small(output: np.ndarray, horizon: int, limit: int) -> None:
    """Raise if the programme has more than ``limit`` non-zeros; nothing is built to count them."""
    rounds = np.minimum(output, horizon)  # sum over k = 0..T of 1 + min(o, T - k), in closed form
    num_nonzeros = np.sum(horizon + 1 + rounds * (rounds + 1) // 2 + rounds * (horizon - rounds))
    if num_nonzeros > limit:
        raise ValueError(
            f"the linear programme of {output.size} requests over {horizon} rounds has "
            f"{num_nonzeros} non-zeros; the limit is {limit}: take fewer requests or a "
            "shorter horizon"
        )


def time_indexed_program(
    highspy: ModuleType, prompt: np.ndarray, output: np.ndarray, kv_capacity: int, horizon: int
) -> Any:
    r"""Write down the linear programme, as a ``HighsLp``.

    .. math::
        \min \sum_{i,k} (k + o_i)\, x_{ik} \quad\text{with}\quad \sum_k x_{ik} = 1,\quad
        \sum_i \sum_{k < t \le k + o_i} (s_i + t - k)\, x_{ik} \le M,\quad x \ge 0

    for every request :math:`i`, every start :math:`k = 0..T` and every round :math:`t = 1..T`.
    Columns are the requests' starts, request after request; rows are the requests, then the
    rounds.
    """
    n, num_columns = output.size, output.size * (horizon + 1)
    # Column (i, k) of the matrix: 1 in the row of request i, then s_i + t - k in the row of each
    # round t = k+1 .. min(k + o_i, T).
    request = np.repeat(np.arange(n), horizon + 1)
    start = np.tile(np.arange(horizon + 1), n)
    height = 1 + np.minimum(output[request], horizon - start)
    begin = np.concatenate([[0], np.cumsum(height)])
    column = np.repeat(np.arange(num_columns), height)
    age = np.arange(column.size) - begin[column]  # t - k; 0 in the row of the request
    row = np.where(age == 0, request[column], n + start[column] + age - 1)
    coefficient = np.where(age == 0, 1, prompt[request[column]] + age)

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = num_columns, n + horizon
    lp.col_cost_ = (start + output[request]).astype(np.float64)
    lp.col_lower_, lp.col_upper_ = np.zeros(num_columns), np.full(num_columns, highspy.kHighsInf)
    lp.row_lower_ = np.concatenate([np.ones(n), np.full(horizon, -highspy.kHighsInf)])
    lp.row_upper_ = np.concatenate([np.ones(n), np.full(horizon, float(kv_capacity))])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = begin.astype(np.int32)
    lp.a_matrix_.index_ = row.astype(np.int32)
    lp.a_matrix_.value_ = coefficient.astype(np.float64)
    return lp


def silent_solver(highspy: ModuleType) -> Any:
    """Make a HiGHS solver that prints nothing."""
    solver = highspy._Highs()  # highspy.Highs adds callbacks, and prints a banner as it does
    solver.setOptionValue("output_flag", False)
    return solver
