"""Where a curve first meets a target: a grid, then ever finer parts of what is left open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsched.metrics.statistics import estimate_means


class Curve(NamedTuple):
    """Means over instances with their 95% intervals, by what was varied.

    Attributes:
      at: what was varied, ``[K]``, ascending.
      mean: float64 ``[K]``.
      low: lower limits, float64 ``[K]``; NaN for a single instance.
      high: upper limits.
    """

    at: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


LIMITS = ("low", "mean", "high")


def first_met(values: np.ndarray, target: float) -> int | None:
    """Place of the first value that is at most ``target``, or None."""
    (places,) = np.nonzero(values <= target)
    return int(places[0]) if places.size else None


def make_curve(at: Sequence[Any], values: np.ndarray, key: jax.Array | None) -> Curve:
    """Estimate the mean over instances of each row of ``values`` ``[K, B]``."""
    return Curve(np.asarray(at), *map(np.asarray, estimate_means(values, key)))


def search(
    evaluate: Callable[[Sequence[int]], np.ndarray],
    grid: Sequence[int],
    target: float,
    *,
    batch: int,
    tolerance: int = 1,
    key: jax.Array | None = None,
) -> Curve:
    """Evaluate the grid, then refine where the mean and its limits first meet the target.

    A limit's bracket is the first evaluated point that meets the target and the evaluated
    point before it, which does not. Every open bracket is cut into parts of equal ratio, all
    in one call of ``batch`` points, until none is wider than ``tolerance``.

    Args:
      evaluate: ``batch`` integers to float64 ``[batch, B]``, one value for each instance.
      grid: at most ``batch`` integers, ascending.
      target: what values should not exceed.
      batch: points of each call, so that all calls have one shape.
      tolerance: the widest bracket to leave.
      key: of the bootstrap, as in :func:`estimate_means`.

    Returns:
      The :class:`Curve` of all points evaluated.
    """
    values: dict[int, np.ndarray] = {}
    points = list(grid)
    while points:
        filled = points + [points[-1]] * (batch - len(points))
        values |= zip(points, evaluate(filled), strict=False)
        at = sorted(values)
        curve = make_curve(at, np.stack([values[point] for point in at]), key)
        points = _cuts(curve, target, batch, tolerance)
    return curve


def _cuts(curve: Curve, target: float, batch: int, tolerance: int) -> list[int]:
    """Points that divide the open brackets of all limits, at most ``batch`` of them."""
    brackets = set()
    for name in LIMITS:
        place = first_met(getattr(curve, name), target)
        if place:  # a first point that meets the target leaves nothing open
            below, above = int(curve.at[place - 1]), int(curve.at[place])
            if above - below > tolerance:
                brackets.add((below, above))
    cuts: set[int] = set()
    for below, above in brackets:
        parts = np.geomspace(below, above, batch // len(brackets) + 2)[1:-1]
        # Rounded towards the middle, so that a narrow bracket is cut too.
        cuts |= set(np.clip(np.rint(parts).astype(np.int64), below + 1, above - 1).tolist())
    return sorted(cuts)
