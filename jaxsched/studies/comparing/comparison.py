"""What a comparison of rules found: every metric of every instance, and means with intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxsched._lib.layout import Column, Layout
from jaxsched._lib.words import counted
from jaxsched.metrics.statistics import Estimate, estimate_means
from jaxsched.show import plots
from jaxsched.show import tables as _tables
from jaxsched.show.tables import written
from jaxsched.studies.comparing.rule_metrics import RuleMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Comparison(RuleMetrics):
    """Rules side by side on the same instances; made by :func:`jaxsched.compare`.

    Printing it shows the table. Means are over instances. Intervals are 95%, by Student's t or,
    where ``compare`` was given a key, by the bootstrap; NaN (blank) for a single instance.

    Attributes:
      metrics: ``metrics[rule][metric]`` is that metric of each instance, ``[..]``: those of
        :func:`jaxsched.metrics.summary`; ``kv_use``, mean tokens held over capacity; and with a
        bound ``gap``, total latency in rounds (with weights, weighted) over the bound, minus 1.
      num_requests: real requests of each instance, ``[..]``.
      kv_capacity: tokens the cache of each instance holds, ``[..]``.
      total_weight: weights of each instance summed, float64 ``[..]``; None where it has none.
      baseline: the rule that the others are compared with, or None.
      bound: lower bound on the total latency of each instance, float64 ``[..]`` in rounds, or
        None.
      bound_name: what the bound is called, or None.
      key: the jax random key of the bootstrap, or None for t intervals.
    """

    metrics: dict[str, dict[str, np.ndarray]]
    num_requests: np.ndarray
    kv_capacity: np.ndarray
    baseline: str | None = None
    bound: np.ndarray | None = None
    bound_name: str | None = None
    key: jax.Array | None = None
    total_weight: np.ndarray | None = None

    @property
    def unit(self) -> str:
        """Unit of latencies in the table and the picture: ``"s"`` if there is a clock."""
        return "s" if "mean_latency_s" in self.metrics[self.rules[0]] else "rounds"

    @property
    def best(self) -> str:
        """The rule of least mean latency, weighted where the instances are."""
        return min(self.rules, key=self._mean_latency)

    def _mean_latency(self, rule: str) -> float:
        return float(self.metrics[rule][self._latency].mean())

    @property
    def _latency(self) -> str:
        """The metric that decides."""
        weighted = "" if self.total_weight is None else "weighted_"
        return f"mean_{weighted}latency_{self.unit}"

    @property
    def _name(self) -> str:
        return "mean" if self.total_weight is None else "weighted"

    def bound_on_mean_latency(self) -> Estimate | None:
        """Mean latency in rounds, weighted where the instances are, that no rule can beat.

        None without a bound.
        """
        if self.bound is None:
            return None
        over = self.num_requests if self.total_weight is None else self.total_weight
        estimate = estimate_means((self.bound / over).reshape(-1), self.key)
        return Estimate(*map(float, estimate))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: the setting, and :meth:`records` as ``rules[rule][metric]``.

        What is NaN there is None here.
        """
        bound = self.bound_on_mean_latency()
        about_bound = None
        if bound is not None:
            about_bound = {"name": self.bound_name, "mean_latency_rounds": bound.mean}
        return {
            "num_instances": self.num_requests.size,
            "num_requests": _extremes(self.num_requests),
            "kv_capacity": _extremes(self.kv_capacity),
            "intervals": self.interval_name,
            "baseline": self.baseline,
            "bound": about_bound,
            "rules": self.numbers_by_rule(),
        }

    def plot(self, ax: Axes | None = None, *, title: str = "") -> Axes:
        """Draw the mean latency of each rule with its interval, and the bound as a line.

        The bound is in rounds, so there is no line where latency is in seconds.

        Args:
          ax: matplotlib axes to draw on; None makes new ones.
          title: what the rules were run on, such as the workload and the server; it stands
            above the :attr:`description`, which says sizes and capacity.

        Returns:
          The axes.

        Raises:
          ImportError: matplotlib is not installed.
        """
        bound = self.bound_on_mean_latency() if self.unit == "rounds" else None
        return plots.mean_bars(
            self.estimate(self._latency),
            title=f"{title}\n{self.description}".lstrip(),
            label=f"{self._name} latency ({self.unit}), lower is better",
            limit=None if bound is None else bound.mean,
            limit_label=f"{self.bound_name} bound",
            ax=ax,
        )

    def table(self) -> _tables.FittedTable:
        """Lay out the figures that matter most as a ``rich`` table."""
        return _tables.FittedTable(self._layout())

    @property
    def description(self) -> str:
        """What the rules were run on, in a phrase."""
        instances = counted(self.num_requests.size, "instance")
        requests = counted(int(self.num_requests.min()), "request", int(self.num_requests.max()))
        tokens = counted(int(self.kv_capacity.min()), "KV token", int(self.kv_capacity.max()))
        return f"{instances} of {requests}, {tokens}"

    @property
    def interval_name(self) -> str | None:
        """How the intervals were formed; None where there are none."""
        if self.num_requests.size < 2:
            return None
        return "95% t" if self.key is None else "95% bootstrap"

    def __repr__(self) -> str:
        """Names and counts only."""
        return f"Comparison({', '.join(self.rules)}; {self.description}; best: {self.best})"

    def _layouts(self) -> list[Layout]:
        return [self._layout()]

    def _paper_layouts(self) -> list[Layout]:
        return [self._layout(has_stars=self._is_tested)]

    def _layout(self, has_stars: bool = False) -> Layout:
        unit, bound = self.unit, self.bound_on_mean_latency()
        row_of_bound = None if bound is None or unit != "rounds" else written(bound)

        def column(header: str, cells: Sequence[str], limit: str = "") -> Column:
            return Column(header, cells if row_of_bound is None else [*cells, limit])

        def figures(
            header: str, estimates: dict[str, Estimate], limit: str = "", **style: bool
        ) -> Column:
            return column(header, [written(each, **style) for each in estimates.values()], limit)

        # A clock counts some columns in seconds, and others stay in rounds: each says which.
        time, steps = ("\n(s)", "\n(rounds)") if unit == "s" else ("", "")
        latency = self._latency
        columns = [
            column("rule", self.rules, f"{self.bound_name} bound"),
            figures(f"{self._name}\nlatency{time}", self.estimate(latency), row_of_bound or ""),
        ]
        if self.baseline is not None:
            change = self.change(latency) | {self.baseline: Estimate(math.nan, math.nan, math.nan)}
            marks = self._stars(latency) if has_stars else {}
            cells = [
                written(each, is_share=True) + marks.get(rule, "") for rule, each in change.items()
            ]
            columns.append(column(f"change\nvs {self.baseline}", cells))
        if bound is not None:
            header = f"above\n{self.bound_name}\nbound{steps}"
            columns.append(figures(header, self.estimate("gap"), is_share=True))
        for header, metric, is_share in (
            (f"p99\nlatency{time}", f"p99_latency_{unit}", False),
            (f"make-\nspan{time}", f"makespan_{unit}", False),
            (f"slow-\ndown{steps}", "mean_slowdown", False),
            ("KV\nuse", "kv_use", True),
            ("on\ntime", "share_within_deadline", True),
        ):
            if metric in self.metrics[self.rules[0]]:
                estimates = self.estimate(metric)
                columns.append(figures(header, estimates, is_share=is_share, has_interval=False))
        least = self._mean_latency(self.best)
        ties = [row for row, rule in enumerate(self.rules) if self._mean_latency(rule) == least]
        return Layout(
            title=self.description if unit == "s" else f"{self.description}; times in rounds",
            columns=columns,
            caption="\n".join(
                [
                    _tables.interval_caption(self.interval_name),
                    *([self._stars_caption("instances")] if has_stars else []),
                ]
            ),
            best_row=self.rules.index(self.best) if len(self.rules) > 1 else None,
            limit_row=None if row_of_bound is None else len(self.rules),
            ties=ties if len(self.rules) > 1 else (),
        )


def _extremes(values: np.ndarray) -> int | list[int]:
    low, high = int(values.min()), int(values.max())
    return low if low == high else [low, high]
