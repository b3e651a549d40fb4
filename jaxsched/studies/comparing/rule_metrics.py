"""Metrics of several rules on the same backlogs or streams, and how far rules lie apart."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError, UnknownName
from jaxsched._lib.names import hint
from jaxsched.metrics.statistics import Estimate, estimate_means

if TYPE_CHECKING:
    import pandas as pd


class RuleMetrics:
    """What :class:`Comparison` and :class:`ServiceComparison` share.

    Attributes:
      metrics: ``metrics[rule][metric]`` of each instance or stream, ``[..]``.
      baseline: the rule that the others are compared with, or None.
      key: the jax random key of the bootstrap, or None for t intervals.
    """

    metrics: dict[str, dict[str, np.ndarray]]
    baseline: str | None
    key: jax.Array | None

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules, in the order they were given."""
        return tuple(self.metrics)

    def estimate(self, metric: str) -> dict[str, Estimate]:
        """Mean of a metric over instances or streams, for each rule.

        Args:
          metric: a name in ``metrics[rule]``, such as ``"mean_latency_rounds"``.

        Raises:
          ValueError: no metric has this name; the message offers the nearest ones.
        """
        return self._by_rule(self._values(metric))

    def difference(self, metric: str) -> dict[str, Estimate]:
        """Mean of the paired differences, rule minus baseline, for each rule.

        Args:
          metric: see :meth:`estimate`.

        Raises:
          ValueError: there is no such metric, or no baseline.
        """
        return self._by_rule(self._differences(self._values(metric)))

    def change(self, metric: str) -> dict[str, Estimate]:
        """Mean of the paired ratios to the baseline, minus 1; NaN where the baseline has 0.

        Args:
          metric: see :meth:`estimate`.

        Raises:
          ValueError: there is no such metric, or no baseline.
        """
        return self._by_rule(self._changes(self._values(metric)))

    def records(self) -> list[dict[str, Any]]:
        """One record for each rule and metric.

        Keys are ``rule``, ``metric``, ``mean``, ``low`` and ``high``; with a baseline also
        ``difference`` and ``change`` (see the methods of these names) with their ``_low`` and
        ``_high``.
        """
        names = list(self.metrics[self.rules[0]])
        values = np.stack([self._values(name) for name in names])  # [metrics, rules, B]
        columns = _columns("mean", "", estimate_means(values, self.key))
        if self.baseline is not None:
            differences, changes = self._differences(values), self._changes(values)
            columns |= _columns("difference", "difference_", estimate_means(differences, self.key))
            columns |= _columns("change", "change_", estimate_means(changes, self.key))
        return [
            {
                "rule": rule,
                "metric": name,
                **{column: float(array[row, place]) for column, array in columns.items()},
            }
            for place, rule in enumerate(self.rules)
            for row, name in enumerate(names)
        ]

    def to_pandas(self) -> pd.DataFrame:
        """Return :meth:`records` as a table."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError('to_pandas needs pandas: pip install "jaxsched[pandas]"') from error
        return pd.DataFrame(self.records())

    def numbers_by_rule(self) -> dict[str, dict[str, Any]]:
        """:meth:`records` as ``[rule][metric]``, plain numbers for JSON; what is NaN is None."""
        rules: dict[str, dict[str, Any]] = {rule: {} for rule in self.rules}
        for record in self.records():
            rule, metric = record.pop("rule"), record.pop("metric")
            rules[rule][metric] = {
                name: number if math.isfinite(number) else None for name, number in record.items()
            }
        return rules

    def _values(self, metric: str) -> np.ndarray:
        """One row a rule and one column an instance, float64 ``[rules, B]``."""
        if metric not in (known := self.metrics[self.rules[0]]):
            raise UnknownName("metric", metric, tuple(known))
        rows = [self.metrics[rule][metric].reshape(-1) for rule in self.rules]
        return np.stack(rows).astype(np.float64)

    def _reference(self, values: np.ndarray) -> np.ndarray:
        if self.baseline is None:
            raise ValueError('there is no baseline; name one: compare(.., baseline="fcfs")')
        place = self.rules.index(self.baseline)
        return values[..., place : place + 1, :]

    def _differences(self, values: np.ndarray) -> np.ndarray:
        return values - self._reference(values)

    def _changes(self, values: np.ndarray) -> np.ndarray:
        reference = self._reference(values)
        return self._differences(values) / np.where(reference == 0, np.nan, reference)

    def _by_rule(self, values: np.ndarray) -> dict[str, Estimate]:
        estimates = estimate_means(values, self.key)
        return {
            rule: Estimate(*(float(array[row]) for array in estimates))
            for row, rule in enumerate(self.rules)
        }


def not_among_rules(baseline: str, rules: Collection[str]) -> InputError:
    """Make the error for a baseline that is none of the rules."""
    finding = f"{baseline!r} is not among the rules"
    return InputError("baseline", baseline, hint(baseline, rules), finding=finding)


def _columns(name: str, prefix: str, estimates: Estimate) -> dict[str, np.ndarray]:
    return {name: estimates.mean, f"{prefix}low": estimates.low, f"{prefix}high": estimates.high}
