r"""How far a crossing may be off, and a ratio of two of them.

A crossing is a function of the mean over streams, no mean itself. Its interval is the jackknife's:
with :math:`\theta` the crossing of all B streams and :math:`\theta_{-b}` that of all but stream b,
the pseudo-values

.. math:: B \theta - (B - 1) \theta_{-b}

are taken as a sample of B numbers, whose interval is put around :math:`\theta`. The pseudo-values
of two rules are of the same streams, so that a ratio is paired. Source:
Tukey, *Bias and Confidence in Not-Quite Large Samples*, 1958.
"""

from __future__ import annotations

import jax
import numpy as np

from jaxsched.metrics.statistics import Estimate, estimate_means
from jaxsched.studies.rates.searching import first_true


def means_without_one(values: np.ndarray) -> np.ndarray:
    """Mean over streams of ``[K, B]``, then those without stream 0, 1 and so on, ``[1 + B, K]``."""
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    if count < 2:
        return mean[None]
    return np.concatenate([mean[None], (count * mean[:, None] - values).T / (count - 1)])


def crossing(at: np.ndarray, mean: np.ndarray, least: float, *, is_falling: bool) -> float:
    """Where a mean ``[K]`` crosses ``least``, by lines between points on a logarithmic axis.

    NaN where the first point lies beyond already, or none does.
    """
    is_enough = mean >= least
    place = first_true(~is_enough if is_falling else is_enough)
    if not place:
        return float("nan")
    share = (least - mean[place - 1]) / (mean[place] - mean[place - 1])
    low, high = np.log(at[place - 1]), np.log(at[place])
    return float(np.exp(low + share * (high - low)))


def jackknife(of_all: np.ndarray, key: jax.Array | None) -> Estimate:
    """Estimate what ``of_all`` ``[.., 1 + B]`` says of all streams and of all but each one."""
    whole, without = of_all[..., :1], of_all[..., 1:]
    count = without.shape[-1]
    if count < 2:
        nothing = np.full(of_all.shape[:-1], np.nan)
        return Estimate(whole[..., 0], nothing, nothing)
    spread = estimate_means(count * whole - (count - 1) * without, key)
    shift = whole[..., 0] - spread.mean
    return Estimate(whole[..., 0], spread.low + shift, spread.high + shift)
