"""Mean, percentiles and maximum of the values that count, along the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._lib.arrays import masked, namespace

PERCENTS = (50, 90, 95, 99)


def percentiles(values: Any, counts: Any, *percents: int) -> tuple[Any, ...]:
    """Numpy's linear percentiles of the values that count, float64 ``[..]`` each.

    They are NaN where nothing counts.
    """
    xp, num = namespace(values), number(counts)
    last = xp.maximum(num - 1, 0)
    hundredths = xp.stack([percent * last for percent in percents], axis=-1)
    below = hundredths // 100
    ranks = xp.concatenate([below, xp.minimum(below + 1, last[..., None])], axis=-1)
    behind = masked(values, counts, xp.nan if _is_float(values) else xp.iinfo(values.dtype).max)
    found = xp.take_along_axis(xp.sort(behind, axis=-1), ranks, axis=-1).astype(xp.float64)
    low, high = found[..., : len(percents)], found[..., len(percents) :]
    between = low + (high - low) * ((hundredths - 100 * below) / 100)
    between = xp.where(num[..., None] > 0, between, xp.nan)
    return tuple(between[..., place] for place in range(len(percents)))


def number(counts: Any) -> Any:
    """Count what counts, int64 ``[..]``; numpy adds up nothing where all of it does."""
    *leading, n = counts.shape
    if namespace(counts) is np and counts.all():
        return np.full(leading, n, np.int64)
    return counts.sum(axis=-1, dtype=namespace(counts).int64)


def total(values: Any, counts: Any) -> Any:
    """Sum of the values that count, float64 ``[..]``; exact for integers below ``2^53``."""
    xp = namespace(values)
    wide = xp.float64 if _is_float(values) else xp.int64
    sums = masked(values, counts, 0).sum(axis=-1, dtype=wide)
    return sums.astype(xp.float64)


def _is_float(values: Any) -> bool:
    return values.dtype.kind == "f"


def mean(values: Any, counts: Any) -> Any:
    """Mean of the values that count, float64 ``[..]``; NaN where there is nothing."""
    xp = namespace(values)
    with np.errstate(invalid="ignore"):
        return total(values, counts) / number(counts).astype(xp.float64)


def distribution(name: str, values: Any, counts: Any = None) -> dict[str, Any]:
    """Mean, percentiles and maximum, by their names.

    Args:
      name: of the quantity with its unit, such as ``"ttft_s"``.
      values: integers or floats ``[.., n]``.
      counts: bool ``[.., n]``, which of them count; without it what is not NaN.

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
    counts = ~namespace(values).isnan(values) if counts is None else counts
    names = [*(f"p{percent}" for percent in PERCENTS), "max"]
    found = percentiles(values, counts, *PERCENTS, 100)
    return {f"mean_{name}": mean(values, counts)} | {
        f"{which}_{name}": value for which, value in zip(names, found, strict=True)
    }
