"""Means over instances, how far they may be off, and whether paired ones differ."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxsched._lib.errors import choice

_LEVEL = 0.95
_NUM_RESAMPLES = 2000
_TESTS = ("t", "wilcoxon")

PairedTestName = Literal["t", "wilcoxon"]


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


class PairedTest(NamedTuple):
    """Whether paired differences have mean or median 0; NaN where there are fewer than two.

    Attributes:
      statistic: Student's t, or Wilcoxon's sum of ranks.
      p_value: two-sided.
      p_holm: the same, corrected by :func:`holm` for the rules tested beside this one.
    """

    statistic: Any
    p_value: Any
    p_holm: Any


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


def paired_tests(differences: np.ndarray, method: PairedTestName = "t") -> PairedTest:
    r"""Test paired differences of several rules for 0, two-sided.

    Student's test takes :math:`t = \bar d \sqrt B / \hat\sigma` with :math:`B - 1` degrees of
    freedom. Wilcoxon's signed-rank test is scipy's, which leaves out differences of 0. Where all
    differences are 0, nothing speaks against equality and the p-value is 1.

    Args:
      differences: float64 ``[.., R, B]``: R rules, tested together, and B instances.
      method: ``"t"`` or ``"wilcoxon"``.

    Returns:
      A :class:`PairedTest` of float64 arrays ``[.., R]``.

    Raises:
      ValueError: there is no such test.

    Example:
      >>> import numpy as np
      >>> from jaxsched.metrics.statistics import paired_tests
      >>> tests = paired_tests(np.array([[1.0, 2.0, 3.0], [1.0, -1.0, 0.0]]))
      >>> tests.p_value.round(3).tolist(), tests.p_holm.round(3).tolist()
      ([0.074, 1.0], [0.148, 1.0])

    Source:
      Wilcoxon, *Individual Comparisons by Ranking Methods*, Biometrics Bulletin 1, 1945.
    """
    choice("method", method, _TESTS)
    if differences.shape[-1] < 2:
        nothing = np.full(differences.shape[:-1], np.nan)
        return PairedTest(nothing, nothing, nothing)
    is_equal = ~np.any(differences, axis=-1)
    statistic, p_value = (_student if method == "t" else _wilcoxon)(differences)
    p_value = np.where(is_equal, 1.0, p_value)
    return PairedTest(np.where(is_equal, 0.0, statistic), p_value, holm(p_value))


def holm(p_values: np.ndarray) -> np.ndarray:
    r"""Correct p-values of several tests, so that any false rejection has the level stated.

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min\bigl(1,\ (R - j + 1)\, p_{(j)}\bigr)

    with :math:`p_{(1)} \le \dots \le p_{(R)}`. NaN counts for no test and stays NaN.

    Args:
      p_values: float64 ``[.., R]``.

    Returns:
      float64 ``[.., R]``.

    Example:
      >>> import numpy as np
      >>> from jaxsched.metrics.statistics import holm
      >>> holm(np.array([0.04, 0.01, 0.03])).tolist()
      [0.06, 0.03, 0.06]

    Source:
      Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of
      Statistics 6, 1979.
    """
    order = np.argsort(p_values, axis=-1)  # NaN last
    ascending = np.take_along_axis(p_values, order, axis=-1)
    count = np.count_nonzero(~np.isnan(p_values), axis=-1)[..., None]
    left = count - np.arange(p_values.shape[-1])
    stepped = np.minimum(np.maximum.accumulate(left * ascending, axis=-1), 1.0)
    corrected = np.empty_like(stepped)
    np.put_along_axis(corrected, order, stepped, axis=-1)
    return corrected


def _student(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import stdtr

    count = differences.shape[-1]
    error = differences.std(axis=-1, ddof=1) / np.sqrt(count)
    with np.errstate(divide="ignore", invalid="ignore"):  # differences that are all alike
        statistic = differences.mean(axis=-1) / error
    return statistic, 2 * stdtr(count - 1, -np.abs(statistic))


def _wilcoxon(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import wilcoxon  # half a second

    statistic, p_value = np.full((2, *differences.shape[:-1]), np.nan)
    for place in np.ndindex(statistic.shape):
        row = differences[place]
        if row.any() and not np.isnan(row).any():
            found: Any = wilcoxon(row)
            statistic[place], p_value[place] = found.statistic, found.pvalue
    return statistic, p_value


def _resampled_means(values: np.ndarray, key: jax.Array) -> np.ndarray:
    """Means of resamples with replacement, ``[resamples, ..]``."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    count = values.shape[-1]

    def resampled() -> np.ndarray:
        chosen = generator.integers(count, size=count)
        return values @ (np.bincount(chosen, minlength=count) / count)

    return np.stack([resampled() for _ in range(_NUM_RESAMPLES)])
