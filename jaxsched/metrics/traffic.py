"""What recorded traffic is like: rates over time, gaps between arrivals, lengths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError
from jaxsched.model.given import require_requests
from jaxsched.model.requests import Requests

#: Quantiles of lengths, in per cent.
PERCENTS = (1, 10, 25, 50, 75, 90, 99, 100)
_BINS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_MOST_BINS = 120  # in a picture; more are hard to read
_WINDOWS_S = (1, 10, 60)
_LEAST_WINDOWS = 10  # fewer say little of a variance


class Traffic(NamedTuple):
    """Arrivals and lengths of one stream.

    Attributes:
      num_requests: how many requests there are.
      duration_s: from the first arrival to the last.
      rate: mean requests a second.
      edges_s: begins of the bins of time and the end of the last, ``[K + 1]``; all as long.
      rates: requests a second in each bin, ``[K]``.
      gap_cv: coefficient of variation of the gaps between arrivals; 1 for a Poisson process.
      dispersion: by the length of a window in seconds, the variance of counts over their mean;
        1 for a Poisson process. Windows of which there are fewer than 10 are left out.
      prompt_quantiles: tokens at 1, 10, 25, 50, 75, 90, 99 and 100%.
      output_quantiles: likewise.
      mean_prompt: mean prompt tokens.
      mean_output: mean output tokens.
      correlation: of the ranks of prompt and output lengths, Spearman's; NaN where all are equal.
    """

    num_requests: int
    duration_s: float
    rate: float
    edges_s: np.ndarray
    rates: np.ndarray
    gap_cv: float
    dispersion: dict[int, float]
    prompt_quantiles: np.ndarray
    output_quantiles: np.ndarray
    mean_prompt: float
    mean_output: float
    correlation: float

    @property
    def bin_s(self) -> float:
        """Length of a bin of time."""
        return float(self.edges_s[1] - self.edges_s[0])

    @property
    def peak_rate(self) -> float:
        """Requests a second in the busiest bin."""
        return float(self.rates.max())


def traffic(reqs: Requests) -> Traffic:
    r"""Describe the arrivals and lengths of one stream.

    With gaps :math:`g_i = r_{i+1} - r_i` and the counts :math:`N_w` of windows of :math:`w`
    seconds,

    .. math::
       \text{gap cv} = \frac{\sigma(g)}{\bar g}, \qquad
       \text{dispersion}_w = \frac{\operatorname{Var} N_w}{\operatorname{E} N_w} .

    Bins and windows begin at the first arrival. A last one that is not full is left out, where
    there is another.

    Args:
      reqs: the requests of one stream, ``[n]``, which arrive over time.

    Returns:
      A :class:`Traffic`.

    Raises:
      ValueError: there are several streams, or the arrivals span no time.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.5, 1.0, 4.0], [300, 20, 50, 70], [40, 10, 20, 30])
      >>> found = js.metrics.traffic(reqs)
      >>> found.rate, found.rates.tolist()
      (0.75, [2.0, 1.0, 0.0, 0.0])

    Source:
      Index of dispersion: Cox and Lewis, *The Statistical Analysis of Series of Events*, 1966.
    """
    refuse_traced("traffic looks at values", "call it outside", reqs)
    is_real = np.asarray(require_requests(reqs).is_real)
    if is_real.ndim != 1:
        finding = f"has shape {is_real.shape}"
        raise InputError("reqs", reqs, "expected one stream, such as reqs[0]", finding=finding)
    at_s, prompt, output = (
        np.asarray(each)[is_real].astype(np.float64)
        for each in (reqs.arrival_s, reqs.prompt_tokens, reqs.output_tokens)
    )
    span_s = float(at_s[-1] - at_s[0]) if at_s.size else 0.0
    if span_s <= 0:
        finding = "has no rate: its arrivals span no time"
        raise InputError("reqs", "", "give it requests that arrive over time", finding=finding)
    since_s, gaps_s = at_s - at_s[0], np.diff(at_s)
    bin_s = next((each for each in _BINS_S if span_s <= _MOST_BINS * each), span_s / _MOST_BINS)
    counts = _counts(since_s, bin_s)
    return Traffic(
        num_requests=at_s.size,
        duration_s=span_s,
        rate=(at_s.size - 1) / span_s,
        edges_s=bin_s * np.arange(counts.size + 1.0),
        rates=counts / bin_s,
        gap_cv=float(gaps_s.std() / gaps_s.mean()),
        dispersion={
            window: float(counts.var() / counts.mean())
            for window in _WINDOWS_S
            if (counts := _counts(since_s, window)).size >= _LEAST_WINDOWS
        },
        prompt_quantiles=np.percentile(prompt, PERCENTS),
        output_quantiles=np.percentile(output, PERCENTS),
        mean_prompt=float(prompt.mean()),
        mean_output=float(output.mean()),
        correlation=_rank_correlation(prompt, output),
    )


def _counts(since_s: np.ndarray, window_s: float) -> np.ndarray:
    """Count arrivals in each window that is full; in the first where none is."""
    num_windows = max(1, int(since_s[-1] // window_s))
    place = (since_s // window_s).astype(np.int64)
    return np.bincount(place[place < num_windows], minlength=num_windows)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import rankdata  # a while to load, which importing metrics need not wait for

    ranks = rankdata(first), rankdata(second)
    if any(np.ptp(each) == 0 for each in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
