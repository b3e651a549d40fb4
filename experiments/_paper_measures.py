"""What `sorted_f_paper.py` keeps of a comparison: estimates, paired tests, the winner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

import jaxsched as js
from jaxsched.metrics.statistics import Estimate

BASELINES = ("shortest_output", "sorted_f")
UNITS = ("rounds", "s")
Found = dict[str, Any]


def measured(found: js.Comparison) -> Found:
    """Means over instances, paired differences in mean latency, and the winners.

    Estimates are ``[mean, half the width of its 95% t interval]``.
    """
    metrics = ["gap"] + [
        f"{name}_{unit}" for unit in UNITS for name in ("mean_latency", "p99_latency", "makespan")
    ]
    estimates = {metric: found.estimate(metric) for metric in metrics}
    return {
        "instances": found.num_requests.size,
        "requests": int(found.num_requests.max()),
        "kv_capacity": sorted({int(found.kv_capacity.min()), int(found.kv_capacity.max())}),
        "rules": {
            rule: {metric: _rounded(estimates[metric][rule]) for metric in metrics}
            for rule in found.rules
        },
        "paired_mean_latency": {
            unit: {
                **{baseline: _paired(found, baseline, found.rules, unit) for baseline in BASELINES},
                "fcfs": _paired(found, "fcfs", BASELINES, unit),
            }
            for unit in UNITS
        },
        "winner": {unit: _winner(found, unit) for unit in UNITS},
    }


def _paired(
    found: js.Comparison, baseline: str, rules: Iterable[str], unit: str
) -> dict[str, Found]:
    metric = f"mean_latency_{unit}"
    against = dataclasses.replace(found, baseline=baseline)
    difference, change = against.difference(metric), against.change(metric)
    return {
        rule: {
            "difference": _rounded(difference[rule]),
            "change": _rounded(change[rule]),
            "p_value": _p_value(found, rule, baseline, metric),
        }
        for rule in rules
        if rule != baseline
    }


def _winner(found: js.Comparison, unit: str) -> Found:
    """Name the rule of least mean latency, the runner-up, and the p-value between them."""
    metric = f"mean_latency_{unit}"
    first, second = sorted(found.rules, key=lambda rule: found.metrics[rule][metric].mean())[:2]
    return {
        "rule": first,
        "runner_up": second,
        "p_value": _p_value(found, first, second, metric),
    }


def _p_value(found: js.Comparison, rule: str, other: str, metric: str) -> float | None:
    """Two-sided paired t-test; None for a single instance."""
    difference = np.ravel(found.metrics[rule][metric] - found.metrics[other][metric])
    if difference.size < 2:
        return None
    if not np.ptp(difference):  # the statistic is 0 / 0 or infinite
        return float(difference[0] == 0)
    return float(f"{ttest_1samp(difference, 0).pvalue:.3g}")


def _rounded(estimate: Estimate) -> list[float | None]:
    numbers = (estimate.mean, estimate.high - estimate.mean)
    return [float(f"{number:.5g}") if math.isfinite(number) else None for number in numbers]
