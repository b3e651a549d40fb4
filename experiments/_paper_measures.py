"""What `sorted_f_paper.py` keeps of a comparison: estimates, paired tests, the winner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

import jaxsched as js
from jaxsched.metrics.statistics import Estimate

BASELINES = ("shortest_output", "sorted_f")
UNITS = ("rounds", "s", "engine_s")
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


def rows(cases: Mapping[str, Found]) -> list[Found]:
    """One row a case and rule; ``_half`` is half the width of a 95% interval."""
    table = []
    for case, found in cases.items():
        setting = {"case": case, "instances": found["instances"], "requests": found["requests"]}
        setting["kv_capacity"] = " to ".join(map(str, found["kv_capacity"]))
        setting["server"] = found["server"]
        for rule, estimates in found["rules"].items():
            row = setting | {"rule": rule}
            for metric, (mean, half) in estimates.items():
                row |= {metric: mean, f"{metric}_half": half}
            for unit in UNITS:
                for baseline, pairs in found["paired_mean_latency"][unit].items():
                    mean, half = pairs[rule]["change"] if rule in pairs else (None, None)
                    name = f"change_{unit}_vs_{baseline}"
                    row |= {name: mean, f"{name}_half": half}
                    row[f"p_{unit}_vs_{baseline}"] = (
                        pairs[rule]["p_value"] if rule in pairs else None
                    )
            table.append(row)
    return table


def winners(cases: Mapping[str, Found]) -> list[Found]:
    """One row a case and unit: the rule of least mean latency, the next, and the p-value."""
    return [
        {"case": case, "unit": unit} | found["winner"][unit]
        for case, found in cases.items()
        for unit in UNITS
    ]


def _paired(
    found: js.Comparison, baseline: str, rules: Iterable[str], unit: str
) -> dict[str, Found]:
    metric = f"mean_latency_{unit}"
    against = dataclasses.replace(found, baseline=baseline)
    change = against.change(metric)
    return {
        rule: {
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
