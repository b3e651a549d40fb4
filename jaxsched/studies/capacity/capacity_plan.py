"""How much memory rules need for a target: the answer, its table and its picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxsched._lib.layout import Column, Layout
from jaxsched.metrics.statistics import Estimate
from jaxsched.show import plots
from jaxsched.show import tables as _tables
from jaxsched.show.tabled import Tabled
from jaxsched.studies.capacity.crossing import Curve
from jaxsched.studies.comparing.rule_metrics import not_among_rules

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What each thing that can be varied is called where it is counted.
UNITS = {"kv_capacity": "KV tokens", "servers": "servers", "preset": "server"}


class Target(NamedTuple):
    """What is not to be exceeded.

    Attributes:
      metric: ``"mean_latency"``, ``"p95_latency"``, ``"p99_latency"`` or ``"makespan"``.
      value: the most it may be, as a mean over instances.
      unit: ``"rounds"`` or ``"s"``.
    """

    metric: str
    value: float
    unit: str

    @property
    def label(self) -> str:
        """The metric in words."""
        return self.metric.replace("_", " ")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CapacityPlan(Tabled):
    """The least capacity with which each rule meets a target; by :func:`jaxsched.plan_capacity`.

    Printing it shows the table.

    Attributes:
      capacity: of each rule the least that meets the target: KV tokens, servers, or the name
        of a server preset.
      interval: of each rule where the lower and the upper 95% limit of the mean first meet the
        target, in the same unit; an upper one that never does is None, and for a single
        instance there is no interval but None.
      curve: of each rule every capacity evaluated, with the metric there.
      target: the :class:`Target`.
      vary: ``"kv_capacity"``, ``"servers"`` or ``"preset"``.
      description: what the rules were run on, in a phrase.
      bound_name: the bound on mean latency that was evaluated, or None.
      bound_curve: that bound by KV capacity, or None.
      bound_capacity: with less than this many KV tokens no rule whatever meets the target on
        these instances; None without a bound.
      interval_name: how the intervals were formed, or None.
    """

    capacity: dict[str, Any]
    interval: dict[str, tuple[Any, Any] | None]
    curve: dict[str, Curve]
    target: Target
    vary: str
    description: str
    bound_name: str | None = None
    bound_curve: Curve | None = None
    bound_capacity: int | None = None
    interval_name: str | None = None

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules, in the order they were given."""
        return tuple(self.capacity)

    @property
    def missed_again(self) -> dict[str, Any]:
        """Of each rule the next larger capacity evaluated that misses the target, or None.

        Latency need not fall as memory grows: a larger cache starts other requests together,
        and in seconds it also makes rounds longer.
        """
        missed = {}
        for rule, curve in self.curve.items():
            place = list(curve.at).index(self.capacity[rule])
            later = curve.at[place:][curve.mean[place:] > self.target.value]
            missed[rule] = later[0].item() if later.size else None
        return missed

    def saved(self, baseline: str | None = None) -> dict[str, float]:
        r"""Share of a baseline's need that each rule saves, :math:`1 - M / M_\text{baseline}`.

        Args:
          baseline: a rule; by default the first.

        Returns:
          One number for each rule, negative for a rule that needs more.

        Raises:
          ValueError: there is no such rule, or presets were compared, which have no size.
        """
        if self.vary == "preset":
            raise ValueError("presets have no size to save; vary kv_capacity or servers")
        baseline = self.rules[0] if baseline is None else baseline
        if baseline not in self.capacity:
            raise not_among_rules(baseline, self.rules)
        return {rule: 1 - need / self.capacity[baseline] for rule, need in self.capacity.items()}

    def metric_at(self, rule: str) -> Estimate:
        """Estimate the metric with exactly the capacity that the plan gives the rule.

        Args:
          rule: one of :attr:`rules`.

        Returns:
          Mean and 95% interval over instances, in the unit of the target.
        """
        curve = self.curve[rule]
        place = list(curve.at).index(self.capacity[rule])
        return Estimate(*(float(values[place]) for values in curve[1:]))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; what is NaN there is None here."""
        about_bound = None
        if self.bound_name is not None:
            about_bound = {
                "name": self.bound_name,
                "capacity": self.bound_capacity,
                "curve": _plain(self.bound_curve),
            }
        return {
            "description": self.description,
            "vary": self.vary,
            "target": self.target._asdict(),
            "intervals": self.interval_name,
            "bound": about_bound,
            "rules": {
                rule: {
                    "capacity": self.capacity[rule],
                    "interval": self.interval[rule],
                    "missed_again": self.missed_again[rule],
                    "curve": _plain(self.curve[rule]),
                }
                for rule in self.rules
            },
        }

    def plot(self, ax: Axes | None = None, *, title: str = "") -> Axes:
        """Draw the metric against capacity: see :func:`jaxsched.plots.capacity`.

        Args:
          ax: matplotlib axes to draw on; None makes new ones.
          title: what the rules were run on, such as the workload and the server; it stands
            above the :attr:`description`, which says sizes.

        Returns:
          The axes.

        Raises:
          ImportError: matplotlib is not installed.
        """
        return plots.capacity(
            self.curve,
            target=self.target.value,
            needed=self.capacity,
            label=f"{self.target.label} ({self.target.unit}), lower is better",
            capacity_label=_axis_label(self.vary),
            bound=self.bound_curve,
            bound_label=f"{self.bound_name} bound",
            title=f"{title}\n{self.description}".lstrip(),
            ax=ax,
        )

    def table(self) -> _tables.FittedTable:
        """Lay the answer out as a ``rich`` table."""
        return _tables.FittedTable(self._layout())

    def __repr__(self) -> str:
        """Capacities only."""
        needs = ", ".join(f"{rule}: {need}" for rule, need in self.capacity.items())
        target = f"{self.target.label} at most {self.target.value:g} {self.target.unit}"
        return f"CapacityPlan({target}; {UNITS[self.vary]} needed by {needs})"

    def _layouts(self) -> list[Layout]:
        return [self._layout()]

    def _layout(self) -> Layout:
        target, has_bound = self.target, self.bound_capacity is not None

        def column(header: str, cells: Sequence[str], of_bound: str = "") -> Column:
            return Column(header, [*cells, of_bound] if has_bound else cells)

        needs = [_number(need) for need in self.capacity.values()]
        columns = [
            column("rule", self.rules, f"{self.bound_name} bound"),
            column(f"{UNITS[self.vary]}\nneeded", needs, _number(self.bound_capacity)),
        ]
        if self.interval_name is not None:
            spans = [_span(interval) for interval in self.interval.values()]
            columns.append(column("95%\ninterval", spans))
        if len(self.rules) > 1 and self.vary != "preset":
            saved = [f"{share:.1%}" for share in self.saved().values()]
            columns.append(column(f"saved\nvs {self.rules[0]}", ["-", *saved[1:]]))
        with_it = [_tables.written(self.metric_at(rule)) for rule in self.rules]
        columns.append(column(f"{target.label}\nwith it ({target.unit})", with_it))
        unit = "seconds" if target.unit == "s" else target.unit
        again = [
            f"{rule} misses it again with {_number(at)}"
            for rule, at in self.missed_again.items()
            if at is not None
        ]
        caption = [_tables.interval_caption(self.interval_name), *again]
        return Layout(
            title=f"{self.description}; {target.label} at most {target.value:g} {unit}",
            columns=columns,
            caption="\n".join(filter(None, caption)),
            limit_row=len(self.rules) if has_bound else None,
        )


def _axis_label(vary: str) -> str:
    return {"kv_capacity": "KV capacity (tokens)", "servers": "servers", "preset": ""}[vary]


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _span(interval: tuple[Any, Any] | None) -> str:
    if interval is None:
        return "-"
    low, high = interval
    if high is None:
        return f"from {_number(low)}"
    return _number(low) if low == high else f"{_number(low)}..{_number(high)}"


def _plain(curve: Curve | None) -> dict[str, list[Any]] | None:
    if curve is None:
        return None
    return {
        name: [None if isinstance(each, float) and math.isnan(each) else each for each in values]
        for name, values in zip(Curve._fields, map(np.ndarray.tolist, curve), strict=True)
    }
