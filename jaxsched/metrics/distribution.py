"""Mean, percentiles and maximum of what is not NaN, along the last axis."""

from __future__ import annotations

import numpy as np

PERCENTS = (50, 90, 95, 99)


def mean(values: np.ndarray) -> np.ndarray:
    """Mean of what is not NaN, ``[..]``; NaN where there is nothing."""
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=-1) / np.count_nonzero(~np.isnan(values), axis=-1)


def percentiles(values: np.ndarray, *percents: int) -> list[np.ndarray]:
    """Numpy's linear percentiles of what is not NaN (its own nanpercentile loops over rows)."""
    ordered, last = _ordered(values)
    return [_percentile(ordered, last, percent) for percent in percents]


def distribution(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, percentiles and maximum, by their names.

    Args:
      name: of the quantity with its unit, such as ``"ttft_s"``.
      values: float64 ``[.., n]``, NaN for what does not count.

    Returns:
      float64 ``[..]`` each: ``mean_{name}``, ``p50_``, ``p90_``, ``p95_``, ``p99_`` and
      ``max_{name}``; NaN where nothing counts.

    Example:
      >>> import numpy as np
      >>> from jaxsched.metrics.distribution import distribution
      >>> measures = distribution("ttft_s", np.array([2.0, np.nan, 4.0]))
      >>> float(measures["mean_ttft_s"]), float(measures["p90_ttft_s"])
      (3.0, 3.8)
    """
    ordered, last = _ordered(values)
    measures = {f"mean_{name}": mean(values)}
    for percent in PERCENTS:
        measures[f"p{percent}_{name}"] = _percentile(ordered, last, percent)
    measures[f"max_{name}"] = np.take_along_axis(ordered, last, axis=-1)[..., 0]
    return measures


def _ordered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort, NaN last, and say where the last number is; at 0, NaN itself, if there is none."""
    last = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True) - 1
    return np.sort(values, axis=-1), np.maximum(last, 0)


def _percentile(ordered: np.ndarray, last: np.ndarray, percent: int) -> np.ndarray:
    below, hundredths = np.divmod(percent * last, 100)
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(below + 1, last), axis=-1)
    return (low + (high - low) * (hundredths / 100))[..., 0]
