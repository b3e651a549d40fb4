"""What a stream is like: how its gaps spread, how its rate swings, how its lengths go together."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from scipy import stats

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError, index_text, reject
from jaxsched.model.requests import Requests


def describe(reqs: Requests, windows_s: Sequence[float] = (1.0, 10.0, 60.0)) -> dict[str, float]:
    r"""Measure the traffic of streams, to compare generated ones with recorded ones.

    - ``rate_requests_per_s``: :math:`(n - 1) / (r_n - r_1)`;
    - ``cv_of_gaps`` and ``burstiness``, :math:`1 / cv^2`;
    - ``gap_correlation``: between a gap and the next, Spearman's;
    - ``peak_to_mean_60s``: most arrivals in a window over their mean, for each window;
    - ``dispersion_60s``: variance over mean of the arrivals in a window, 1 for a Poisson process;
    - ``length_correlation``: between prompts and outputs, Spearman's;
    - ``mean_prompt_tokens``, ``mean_output_tokens``, and ``cv_of_output_tokens``;
    - ``num_clients``, ``top_10_share`` of requests, and ``median_client_cv``, the median of the
      CVs of gaps of clients with 10 requests or more, weighted by requests: if there are clients.

    Windows lie side by side from the first arrival on; one that is not full is left out. What a
    stream is too short for is NaN.

    Args:
      reqs: the requests; of several streams ``[.., n]``, each figure is the mean over them.
      windows_s: lengths of windows in seconds.

    Returns:
      The figures by name.

    Raises:
      ValueError: a window is not above 0, or a stream has fewer than three requests or spans no
        time.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=10_000)
      >>> reqs = js.workloads.poisson(jax.random.key(1), inst, rate=10.0)
      >>> found = js.workloads.arrivals.describe(reqs, windows_s=[10])
      >>> round(found["cv_of_gaps"], 1), round(found["dispersion_10s"], 1)
      (1.0, 1.0)
    """
    refuse_traced("describe looks at values", "call it outside", reqs)
    windows = np.asarray(windows_s, np.float64)
    reject("windows_s", windows, ~(np.isfinite(windows) & (windows > 0)), "expected seconds > 0")
    reqs = jax.tree.map(np.asarray, reqs)
    leading = reqs.is_real.shape[:-1]
    found = [_of_stream(reqs, index, windows) for index in np.ndindex(leading)]
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def _of_stream(reqs: Requests, index: tuple[int, ...], windows: np.ndarray) -> dict[str, float]:
    is_real = reqs.is_real[index]
    arrival_s = reqs.arrival_s[index][is_real]
    span_s = arrival_s[-1] - arrival_s[0] if arrival_s.size else 0.0
    if arrival_s.size < 3 or not span_s > 0:
        where = f" in stream {index_text(index)}" if index else ""
        finding = f"has fewer than three arrivals, or spans no time{where}"
        raise InputError("reqs", "", "give it more requests", finding=finding)
    gaps_s = np.diff(arrival_s)
    cv = gaps_s.std() / gaps_s.mean()
    found = {
        "rate_requests_per_s": gaps_s.size / span_s,
        "cv_of_gaps": cv,
        "burstiness": np.inf if cv == 0 else cv**-2,
        "gap_correlation": _rank_correlation(gaps_s[:-1], gaps_s[1:]),
    }
    for window_s in windows:
        counts = _counts(arrival_s, window_s)
        is_enough = counts.size > 1
        name = f"{window_s:g}s"
        found[f"peak_to_mean_{name}"] = counts.max() / counts.mean() if is_enough else np.nan
        found[f"dispersion_{name}"] = counts.var(ddof=1) / counts.mean() if is_enough else np.nan
    prompt, output = (
        each[index][is_real].astype(np.float64) for each in (reqs.prompt_tokens, reqs.output_tokens)
    )
    found |= {
        "length_correlation": _rank_correlation(prompt, output),
        "mean_prompt_tokens": prompt.mean(),
        "mean_output_tokens": output.mean(),
        "cv_of_output_tokens": output.std() / output.mean(),
    }
    if reqs.client is not None:
        found |= _of_clients(arrival_s, reqs.client[index][is_real])
    return found


def _of_clients(arrival_s: np.ndarray, client: np.ndarray) -> dict[str, float]:
    ids, counts = np.unique(client, return_counts=True)
    often = ids[counts >= 10]
    gaps_s = [np.diff(arrival_s[client == one]) for one in often]
    cv = np.array([one.std() / one.mean() if one.mean() > 0 else np.inf for one in gaps_s])
    weight = counts[counts >= 10]
    order = np.argsort(cv)
    middle = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2) if cv.size else 0
    return {
        "num_clients": float(ids.size),
        "top_10_share": np.sort(counts)[-10:].sum() / counts.sum(),
        "median_client_cv": cv[order][middle] if cv.size else np.nan,
    }


def _counts(arrival_s: np.ndarray, window_s: float) -> np.ndarray:
    """Count arrivals in each full window."""
    since_first = arrival_s - arrival_s[0]
    num_windows = int(since_first[-1] // window_s)
    window = (since_first // window_s).astype(np.int64)
    return np.bincount(window[window < num_windows], minlength=num_windows).astype(np.float64)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    ranks = (stats.rankdata(each) for each in (first, second))
    return float(np.corrcoef(*ranks)[0, 1])
