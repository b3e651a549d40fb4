"""Percentiles of times between tokens, from counts by bucket."""

from __future__ import annotations

import numpy as np

from jaxsched._lib.errors import wrong_shape
from jaxsched.metrics.distribution import PERCENTS
from jaxsched.model.itl import ITL_EDGES_S

_LOG_EDGES = np.log(ITL_EDGES_S)


def itl_percentiles(histogram: np.ndarray) -> dict[str, np.ndarray]:
    r"""Percentiles of the pooled times between tokens, within 1% of those of the times themselves.

    The :math:`m` times of a bucket are taken to lie at :math:`e_k (e_{k+1} / e_k)^{(j + 1/2) / m}`
    for :math:`j = 0 .. m - 1`. Percentiles interpolate linearly between the two times next to
    their rank, as numpy's do. Each of the two is off by less than its bucket, which is 0.9% wide,
    unless it is below 10 microseconds or above 10,000 s.

    Args:
      histogram: integers ``[.., K]``, counts by ``ITL_EDGES_S``.

    Returns:
      float64 ``[..]`` seconds each: ``p50_itl_s``, ``p90_``, ``p95_``, ``p99_``; NaN where
      nothing is counted.
    """
    if histogram.shape[-1] != ITL_EDGES_S.size - 1:
        raise wrong_shape(
            "itl_histogram", histogram.shape, f"expected [.., {ITL_EDGES_S.size - 1}]"
        )
    until = np.cumsum(histogram, axis=-1, dtype=np.int64)
    total = until[..., -1]
    last = np.maximum(total - 1, 0)

    def gap_s(rank: np.ndarray) -> np.ndarray:
        """Place the gap of a rank, the shortest being 0."""
        bucket = np.minimum((until <= rank[..., None]).sum(axis=-1), histogram.shape[-1] - 1)
        count = np.take_along_axis(histogram, bucket[..., None], axis=-1)[..., 0]
        after = np.take_along_axis(until, bucket[..., None], axis=-1)[..., 0]
        share = (rank - (after - count) + 0.5) / np.maximum(count, 1)
        low, high = _LOG_EDGES[bucket], _LOG_EDGES[bucket + 1]
        return np.exp(low + (high - low) * share)

    def percentile(percent: int) -> np.ndarray:
        below, hundredths = np.divmod(percent * last, 100)
        low, high = gap_s(below), gap_s(np.minimum(below + 1, last))
        return np.where(total > 0, low + (high - low) * (hundredths / 100), np.nan)

    return {f"p{percent}_itl_s": percentile(percent) for percent in PERCENTS}
