"""Non-negative least squares on relative error, with whole shapes left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls


class Error(NamedTuple):
    """Relative error of predicted times.

    Attributes:
      mean: of all rows.
      largest: of any row.
    """

    mean: float
    largest: float

    @classmethod
    def of(cls, predicted: np.ndarray, measured: np.ndarray) -> Error:
        """Compare times.

        Args:
          predicted: ``[n]``.
          measured: ``[n]``, above 0.

        Returns:
          The error of the first.
        """
        relative = np.abs(predicted / measured - 1.0)
        return cls(float(relative.mean()), float(relative.max()))


class Fit(NamedTuple):
    """Coefficients of a linear model of times, and what it predicts.

    Attributes:
      coefficients: one for each column, >= 0.
      standard_errors: of the coefficients, if rows err independently and alike; NaN where the rows
        do not tell.
      predicted: times of all rows, ms.
      left_out: times of each row, ms, by the fit without the rows of its shape; None for one shape.
      seen: error of ``predicted``.
      unseen: error of ``left_out``.
    """

    coefficients: np.ndarray
    standard_errors: np.ndarray
    predicted: np.ndarray
    left_out: np.ndarray | None
    seen: Error
    unseen: Error | None


def fit(columns: np.ndarray, ms: np.ndarray, shape: np.ndarray) -> Fit:
    r"""Minimize :math:`\sum (x_i \beta / y_i - 1)^2` over :math:`\beta \ge 0`.

    Args:
      columns: ``[n, k]``, what each time is made of.
      ms: ``[n]``, measured times.
      shape: ``[n]``, integers from 0: rows of one shape are left out together.
    """
    relative = np.column_stack([columns / ms[:, None], np.ones_like(ms)])
    scale = np.linalg.norm(relative[:, :-1], axis=0)
    scale[scale == 0.0] = 1.0
    relative[:, :-1] /= scale
    # Of each shape the triangle of its rows is all that a fit needs.
    order = np.argsort(shape, kind="stable")
    pieces = np.split(relative[order], np.flatnonzero(np.diff(shape[order])) + 1)
    triangles = [_triangle(piece) for piece in pieces]
    coefficients = _solved(triangles) / scale
    predicted = columns @ coefficients
    left_out = unseen = None
    if len(triangles) > 1:
        left_out = np.empty_like(ms)
        for number in range(len(triangles)):
            others = triangles[:number] + triangles[number + 1 :]
            rows = shape == number
            left_out[rows] = columns[rows] @ (_solved(others) / scale)
        unseen = Error.of(left_out, ms)
    deviation = np.sqrt(np.sum((predicted / ms - 1.0) ** 2) / max(ms.size - scale.size, 1))
    errors = deviation * _inverse_norms(triangles, ms.size) / scale
    return Fit(coefficients, errors, predicted, left_out, Error.of(predicted, ms), unseen)


def squares(columns: np.ndarray, ms: np.ndarray) -> float:
    """Sum of squared relative errors of the best fit, without leaving anything out."""
    relative = columns / ms[:, None]
    scale = np.linalg.norm(relative, axis=0)
    relative = relative / np.where(scale == 0.0, 1.0, scale)
    triangle = _triangle(np.column_stack([relative, np.ones_like(ms)]))
    return nnls(triangle[:, :-1], triangle[:, -1])[1] ** 2


def _triangle(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(rows, mode="r"))


def _inverse_norms(triangles: list[np.ndarray], num_rows: int) -> np.ndarray:
    """Roots of the diagonal of the inverse of X'X; NaN for columns that the rows do not tell."""
    columns = _triangle(np.concatenate(triangles)[:, :-1])
    norms = np.full(columns.shape[1], np.nan)
    told = np.flatnonzero(np.linalg.norm(columns, axis=0))
    if num_rows > told.size == np.linalg.matrix_rank(columns[:, told]):
        norms[told] = np.linalg.norm(np.linalg.pinv(columns[:, told]), axis=1)
    return norms


def _solved(triangles: list[np.ndarray]) -> np.ndarray:
    stacked = np.concatenate(triangles)
    return nnls(stacked[:, :-1], stacked[:, -1])[0]
