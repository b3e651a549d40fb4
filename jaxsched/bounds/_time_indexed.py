"""The time-indexed programme over start rounds, as HiGHS takes it."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

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


class Backlog(NamedTuple):
    """The real requests of one instance, int64 ``[n]``; weights float64 ``[n]``, or None for 1."""

    prompt: np.ndarray
    output: np.ndarray
    release: np.ndarray
    kv_capacity: int
    weight: np.ndarray | None = None

    def weighed(self, rounds: np.ndarray) -> Any:
        """Sum up the rounds of each request, as often as it weighs."""
        return np.sum(rounds if self.weight is None else self.weight * rounds)

    @property
    def last_round(self) -> int:
        """Round by which some optimal schedule is done: nobody runs in turn for longer."""
        return int(self.release.max() + self.output.sum())


def real_requests(inst: Instance, release: np.ndarray | None = None) -> Backlog:
    """Leave the padding of one instance out."""
    if np.ndim(inst.kv_capacity):
        raise ValueError(f"expected one instance, not leading axes {np.shape(inst.kv_capacity)}")
    is_real = np.asarray(inst.is_real)
    prompt = np.asarray(inst.prompt_tokens, np.int64)[is_real]
    return Backlog(
        prompt=prompt,
        output=np.asarray(inst.output_tokens, np.int64)[is_real],
        release=np.zeros_like(prompt) if release is None else release[is_real],
        kv_capacity=int(inst.kv_capacity),
        weight=None if inst.weight is None else np.asarray(inst.weight, np.float64)[is_real],
    )


class StartRounds(NamedTuple):
    """Starts that a programme chooses from: those of request after request.

    Attributes:
      earliest: int64 ``[n]``.
      latest: int64 ``[n]``, none before the earliest.
    """

    earliest: np.ndarray
    latest: np.ndarray

    @property
    def count(self) -> np.ndarray:
        """Starts of each request, int64 ``[n]``."""
        return self.latest - self.earliest + 1

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Request and start of each column."""
        request = np.repeat(np.arange(self.count.size), self.count)
        begin = np.cumsum(self.count) - self.count
        return request, self.earliest[request] + np.arange(request.size) - begin[request]


def until(backlog: Backlog, horizon: int) -> StartRounds:
    """Allow all starts from release to the horizon, after which nothing is gained by waiting."""
    return StartRounds(backlog.release, np.maximum(backlog.release, horizon))


def require_small(output: np.ndarray, starts: StartRounds, horizon: int, limit: int) -> None:
    """Raise if the programme has more than ``limit`` non-zeros; nothing is built to count them."""
    # Starts with all their rounds in the programme, and then 1 + min(o, T - k) in closed form.
    last, first = np.maximum(horizon - starts.earliest, 0), np.maximum(horizon - starts.latest, 0)
    num_nonzeros = np.sum(starts.count + _rounds_up_to(output, last))
    num_nonzeros -= np.sum(_rounds_up_to(output, first - 1))
    if num_nonzeros > limit:
        raise ValueError(
            f"the linear programme of {output.size} requests over {horizon} rounds has "
            f"{num_nonzeros} non-zeros; the limit is {limit}: take fewer requests or a "
            "shorter horizon"
        )


def _rounds_up_to(output: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Sum ``min(output, left)`` over ``left = 0 .. most``; 0 where there is none."""
    most = np.maximum(most, 0)
    rounds = np.minimum(output, most)
    return rounds * (rounds + 1) // 2 + rounds * (most - rounds)


def time_indexed_program(
    highspy: ModuleType, backlog: Backlog, starts: StartRounds, horizon: int
) -> Any:
    r"""Write down the linear programme, as a ``HighsLp``.

    .. math::
        \min \sum_{i,k} w_i (k + o_i - a_i)\, x_{ik} \quad\text{with}\quad \sum_k x_{ik} = 1,\quad
        \sum_i \sum_{k < t \le k + o_i} (s_i + t - k)\, x_{ik} \le M,\quad x \ge 0

    for every request :math:`i`, released at :math:`a_i`, every start :math:`k` that it may take and
    every round :math:`t = 1..T`. Columns are the requests' starts, request after request; rows are
    the requests, then the rounds.
    """
    n = backlog.output.size
    request, start = starts.columns()
    # Column (i, k) of the matrix: 1 in the row of request i, then s_i + t - k in the row of each
    # round t = k+1 .. min(k + o_i, T).
    height = 1 + np.minimum(backlog.output[request], np.maximum(horizon - start, 0))
    begin = np.concatenate([[0], np.cumsum(height)])
    column = np.repeat(np.arange(request.size), height)
    age = np.arange(column.size) - begin[column]  # t - k; 0 in the row of the request
    row = np.where(age == 0, request[column], n + start[column] + age - 1)
    coefficient = np.where(age == 0, 1, backlog.prompt[request[column]] + age)

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = request.size, n + horizon
    latency = start + (backlog.output - backlog.release)[request]
    weight = 1.0 if backlog.weight is None else backlog.weight[request]
    lp.col_cost_ = weight * latency.astype(np.float64)
    lp.col_lower_, lp.col_upper_ = np.zeros(request.size), np.full(request.size, highspy.kHighsInf)
    lp.row_lower_ = np.concatenate([np.ones(n), np.full(horizon, -highspy.kHighsInf)])
    lp.row_upper_ = np.concatenate([np.ones(n), np.full(horizon, float(backlog.kv_capacity))])
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
