r"""Moments of a metric over instances, by shard and merged.

A shard keeps the count :math:`B_k`, the mean :math:`m_k`, the squares about it
:math:`Q_k = \sum_b (x_b - m_k)^2`, and the least and the greatest. Of all shards together

.. math:: B = \sum_k B_k, \quad m = \frac1B \sum_k B_k m_k, \quad
   Q = \sum_k Q_k + \sum_k B_k (m_k - m)^2 ,

each sum rounded once (``math.fsum``), so that the order of the shards changes nothing; the
standard deviation is :math:`\sqrt{Q / (B - 1)}`. The rule for two parts is that of Chan, Golub and
LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*, 1979.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: What a table of moments shows of each metric.
MOMENTS = ("mean", "std", "min", "max", "count")
_KEPT = ("mean", "squares", "min", "max")


def moments(metrics: dict[str, np.ndarray]) -> dict[str, Any]:
    """Moments of each metric ``[B]``: ``count``, and ``metric:moment``."""
    of_metrics: dict[str, Any] = {"count": len(next(iter(metrics.values())))}
    for name, values in metrics.items():
        values = np.asarray(values, np.float64)
        mean = math.fsum(values) / len(values)
        squares = math.fsum((values - mean) ** 2)
        kept = mean, squares, float(values.min()), float(values.max())
        of_metrics |= {f"{name}:{moment}": value for moment, value in zip(_KEPT, kept, strict=True)}
    return of_metrics


def merged(parts: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Moments over all instances, by metric and by name in :data:`MOMENTS`."""
    metrics = [name.removesuffix(":mean") for name in parts[0] if name.endswith(":mean")]
    counts = np.array([part["count"] for part in parts], np.float64)
    count, of_all = int(counts.sum()), {}
    for name in metrics:
        mean, squares, least, most = (
            np.array([part[f"{name}:{moment}"] for part in parts]) for moment in _KEPT
        )
        middle = math.fsum(counts * mean) / count
        total = math.fsum([*squares, *(counts * (mean - middle) ** 2)])
        std = math.sqrt(total / (count - 1)) if count > 1 else math.nan
        values = middle, std, least.min(), most.max(), count
        of_all |= {(name, moment): value for moment, value in zip(MOMENTS, values, strict=True)}
    return of_all
