"""Means over instances, and how far they may be off."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

_LEVEL = 0.95
_NUM_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A mean over instances with its 95% interval; NaN limits where there are fewer than two.

    Attributes:
      mean: the mean.
      low: lower limit of the interval.
      high: upper limit.
    """

    mean: Any
    low: Any
    high: Any


def estimate_means(values: np.ndarray, key: jax.Array | None = None) -> Estimate:
    r"""Estimate the mean of each row, as a sample of what other instances would give.

    Without a key the interval is Student's,
    :math:`\bar x \pm t_{0.975,\,B-1}\, \hat\sigma / \sqrt B`; with one it spans the middle 95%
    of the means of 2000 resamples of the instances (percentile bootstrap), the same resamples
    for every row.

    Args:
      values: float64 ``[.., B]``, one value for each instance.
      key: a jax random key, for the bootstrap.

    Returns:
      An :class:`Estimate` of float64 arrays ``[..]``.
    """
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    if count < 2:
        return Estimate(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    if key is not None:
        tail = 100 * (1 - _LEVEL) / 2
        low, high = np.percentile(_resampled_means(values, key), [tail, 100 - tail], axis=0)
        return Estimate(mean, low, high)

    from scipy.special import stdtrit  # a quarter of a second, which --help need not wait for

    deviation = values.std(axis=-1, ddof=1)
    half_width = stdtrit(count - 1, (1 + _LEVEL) / 2) * deviation / np.sqrt(count)
    return Estimate(mean, mean - half_width, mean + half_width)


def _resampled_means(values: np.ndarray, key: jax.Array) -> np.ndarray:
    """Means of resamples with replacement, ``[resamples, ..]``."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    count = values.shape[-1]

    def resampled() -> np.ndarray:
        chosen = generator.integers(count, size=count)
        return values @ (np.bincount(chosen, minlength=count) / count)

    return np.stack([resampled() for _ in range(_NUM_RESAMPLES)])
