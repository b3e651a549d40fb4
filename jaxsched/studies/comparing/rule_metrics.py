"""Metrics of several rules on the same backlogs or streams, and how far rules lie apart."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxsched._lib.errors import InputError, UnknownName
from jaxsched._lib.names import hint
from jaxsched.metrics.statistics import (
    Estimate,
    PairedTest,
    PairedTestName,
    estimate_means,
    paired_tests,
)
from jaxsched.show.markup import stars, stars_caption
from jaxsched.show.tabled import Tabled

if TYPE_CHECKING:
    import pandas as pd


class RuleMetrics(Tabled):
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

    def test(self, metric: str, method: PairedTestName = "t") -> dict[str, PairedTest]:
        """Test whether each rule differs from the baseline, paired by instance or stream.

        The correction counts all rules but the baseline, and this metric alone.

        Args:
          metric: see :meth:`estimate`.
          method: ``"t"``, Student's test of the mean difference, or ``"wilcoxon"``, the
            signed-rank test, which assumes no distribution of the differences but a symmetric one.

        Returns:
          The :class:`~jaxsched.metrics.statistics.PairedTest` of each rule but the baseline: its
          statistic, the two-sided p-value, and that value after Holm's correction; NaN for a
          single instance.

        Raises:
          ValueError: there is no such metric or test, or no baseline.

        Example:
          >>> import jaxsched as js
          >>> inst = js.Instance.from_lengths([[7, 1, 1], [5, 2, 1], [6, 1, 2]],
          ...                                 [[1, 2, 2], [3, 1, 2], [4, 1, 1]], kv_capacity=10)
          >>> found = js.compare(inst, ["fcfs", "smallest_volume"], baseline="fcfs")
          >>> round(found.test("mean_latency_rounds")["smallest_volume"].p_holm, 3)
          0.478
        """
        differences = self._differences(self._values(metric))
        others = [place for place, rule in enumerate(self.rules) if rule != self.baseline]
        tests = paired_tests(differences[others], method)
        return {
            self.rules[place]: PairedTest(*(float(array[row]) for array in tests))
            for row, place in enumerate(others)
        }

    def records(self) -> list[dict[str, Any]]:
        """One record for each rule and metric.

        Keys are ``rule``, ``metric``, ``mean``, ``low`` and ``high``; with a baseline also
        ``difference`` and ``change`` (see the methods of these names) with their ``_low`` and
        ``_high``, and ``p_value`` and ``p_holm`` of :meth:`test`, by Student's t.
        """
        names = list(self.metrics[self.rules[0]])
        values = np.stack([self._values(name) for name in names])  # [metrics, rules, B]
        columns = _columns("mean", "", estimate_means(values, self.key))
        if self.baseline is not None:
            differences, changes = self._differences(values), self._changes(values)
            columns |= _columns("difference", "difference_", estimate_means(differences, self.key))
            columns |= _columns("change", "change_", estimate_means(changes, self.key))
            tests = paired_tests(np.delete(differences, self._baseline_place, axis=1))
            for column in ("p_value", "p_holm"):
                tested = getattr(tests, column)
                columns[column] = np.insert(tested, self._baseline_place, np.nan, axis=1)
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
        place = self._baseline_place
        return values[..., place : place + 1, :]

    @property
    def _baseline_place(self) -> int:
        return self.rules.index(self.baseline)  # pyright: ignore[reportArgumentType]

    @property
    def _is_tested(self) -> bool:
        """Whether there are other rules to test against a baseline, on several instances."""
        first = next(iter(self.metrics[self.rules[0]].values()))
        return self.baseline is not None and len(self.rules) > 1 and first.size > 1

    def _stars(self, metric: str) -> dict[str, str]:
        """Mark the rules that differ from the baseline, for papers."""
        return {rule: stars(found.p_holm) for rule, found in self.test(metric).items()}

    def _stars_caption(self, what: str) -> str:
        return stars_caption(f"paired t tests over {what}, Holm-corrected over rules")

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
