"""What a server takes within its targets, by rule and setting: the answer, table and picture."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxsched._lib.errors import UnknownName
from jaxsched._lib.layout import Column, Layout
from jaxsched.bounds import StabilityLimits
from jaxsched.metrics.statistics import Estimate, estimate_means
from jaxsched.show import plots
from jaxsched.show import tables as _tables
from jaxsched.show.tabled import Tabled
from jaxsched.show.tables import written
from jaxsched.studies.rates.axes import Axis
from jaxsched.studies.rates.intervals import crossing, jackknife, means_without_one
from jaxsched.studies.rates.notes import limit_lines, notes, number, span
from jaxsched.studies.rates.searching import ServiceCurve
from jaxsched.studies.serving.goal import Goal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: What the table shows of the service at the value found: header, metric, scale, style.
_SHOWN = (
    ("attain-\nment", "attainment", 1, {"is_share": True}),
    ("TTFT\np99\n(ms)", "p99_ttft_s", 1000, {"has_interval": False}),
    ("TPOT\nmean\n(ms)", "mean_tpot_s", 1000, {"has_interval": False}),
    ("E2E\np99\n(s)", "p99_e2e_s", 1, {"has_interval": False}),
    ("evic-\ntions", "num_preemptions", 1, {"has_interval": False}),
)
_DRAWN = ("attainment", "p99_ttft_s")
_AROUND = 3.0  # times less and more than the values found is drawn
_LABELS = {"rate": "rate (requests/s)", "servers": "servers", "kv_capacity": "KV tokens"}
_HEADER_WIDTH = 9
_ROUNDING = 1e-9  # of limits of an interval, which end at the limit of rates


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ServicePlan(Tabled):
    """The highest rate within targets, the fewest servers, or the least memory; printing shows it.

    Made by :func:`jaxsched.plan_rate`, :func:`jaxsched.plan_servers` and
    :func:`jaxsched.plan_memory`. Arrays ``[R, S]`` have a row a rule and a column a setting. The
    first of both is what others are compared with.

    Attributes:
      axis: what was looked for; ``axis.quantity`` is ``"rate"``, ``"servers"`` or
        ``"kv_capacity"``.
      rules: names of the R rules.
      settings: of each of S settings the values that were varied; one empty dict where none were.
      value: float64 ``[R, S]``, a point that was tried. Of rates the highest up to the limit such
        that it and all tried below meet the goal, 0 where the lowest misses it. Of servers and
        memory the least that meets it, NaN where none does.
      curve: ``curve[rule][s]`` is every point tried, with each metric of each stream.
      goal: the share of requests that should meet their targets, and these.
      description: what was run, in a phrase.
      targets_text: what a request should meet, in a phrase.
      predictions_text: what rules know of output lengths, in a sentence.
      key: the jax random key of the bootstrap, or None for t intervals.
      limits: of each setting the rates that no rule keeps up with, see
        :func:`jaxsched.bounds.stability`; NaN where requests are refused. None where no rate was
        looked for.
      is_beyond: of servers and memory, whether no rule keeps up with the rate at the value, bool
        ``[R, S]``; None where a rate was looked for.
    """

    axis: Axis
    rules: tuple[str, ...]
    settings: tuple[dict[str, Any], ...]
    value: np.ndarray
    curve: dict[str, tuple[ServiceCurve, ...]]
    goal: Goal
    description: str
    targets_text: str
    predictions_text: str
    key: jax.Array | None = None
    limits: tuple[StabilityLimits, ...] | None = None
    is_beyond: np.ndarray | None = None

    @property
    def rate_limit(self) -> np.ndarray:
        """Rate that no rule keeps up with, of each setting ``[S]``; infinite if none is known."""
        if self.limits is None:
            return np.full(len(self.settings), np.inf)
        rates = np.array([each.rate.item() for each in self.limits])
        return np.where(np.isnan(rates), np.inf, rates)

    @property
    def is_at_limit(self) -> np.ndarray:
        """Whether the value is that limit, at which the goal is still met, bool ``[R, S]``."""
        return self.value == self.rate_limit

    @property
    def interval(self) -> Estimate:
        """Where the mean attainment crosses the goal, with 95% limits, each ``[R, S]``.

        The crossing lies between two points tried, by a line; of rates it is the limit at most.
        Its 95% limits are the jackknife's over streams. They are NaN for one stream, for servers,
        and where nothing is crossed. They are approximate: of few streams the interval is somewhat
        too narrow.
        """
        found, most = jackknife(self._crossings(), self.key), self.rate_limit
        rounded = most * (1 - _ROUNDING)
        return Estimate(*(np.where(each > rounded, most, each) for each in found))

    @property
    def change(self) -> Estimate:
        """Ratio to the first rule and setting, minus 1, with 95% limits, each ``[R, S]``.

        It is a ratio of crossings, paired by stream; of servers, a ratio of their numbers.
        """
        return self.change_from(0, 0)

    def change_from(self, rule: int, setting: int) -> Estimate:
        """Ratio to some rule and setting, minus 1, as :attr:`change` is to the first.

        Args:
          rule: the rule's row.
          setting: the setting's column.
        """
        if self.axis.is_whole:
            ratio = self.value / self.value[rule, setting] - 1
            nothing = np.full(ratio.shape, np.nan)
            return Estimate(ratio, nothing, nothing)
        crossings = self._crossings()
        return jackknife(crossings / crossings[rule, setting] - 1, self.key)

    @property
    def best(self) -> tuple[str, dict[str, Any]]:
        """Rule and setting of the highest rate, the fewest servers or the least memory.

        Of servers and memory, those come first with which some rule may keep up with the rate.
        """
        rule, setting = divmod(self._best_row, len(self.settings))
        return self.rules[rule], self.settings[setting]

    def estimate(self, metric: str) -> Estimate:
        """Mean of a metric over streams at the value found, with 95% limits, each ``[R, S]``.

        Args:
          metric: a name that :func:`jaxsched.metrics.service_summary` gives.

        Raises:
          ValueError: no metric has this name; the message offers the nearest ones.
        """
        known = self.curve[self.rules[0]][0].metrics
        if metric not in known:
            raise UnknownName("metric", metric, tuple(known))
        values = []
        for rule, setting in self._rows():
            curve = self.curve[self.rules[rule]][setting]
            place = curve.place_of(self.value[rule, setting])
            of_streams = curve.metrics[metric]
            nothing = np.full(of_streams.shape[1:], np.nan)
            values.append(nothing if place is None else of_streams[place].astype(np.float64))
        found = estimate_means(np.stack(values), self.key)
        return Estimate(*(np.asarray(each).reshape(self.value.shape) for each in found))

    def notes(self) -> list[str]:
        """Say what a value leaves open.

        The lowest point missed the goal, the last met it, it was crossed again, or it is met above
        the limit. There a rule may leave some requests to wait ever longer, or the streams end too
        soon to show that queues grow.
        """
        return [
            f"{self._name(rule, setting)}: {note}"
            for rule, setting in self._rows()
            for note in notes(self, rule, setting)
        ]

    def records(self) -> list[dict[str, Any]]:
        """One record for each rule and setting.

        Keys are ``rule``, the settings that were varied, the quantity with its 95% limits
        ``low`` and ``high``, ``change`` with ``change_low`` and ``change_high``, of rates
        ``limit``, ``memory_limit``, ``work_limit`` and ``is_at_limit``, of others ``is_beyond``,
        and every service metric at the value found, as its mean over streams.
        """
        interval, change = self.interval, self.change
        metrics = {name: self.estimate(name).mean for name in self.curve[self.rules[0]][0].metrics}
        return [
            {
                "rule": self.rules[row[0]],
                **self.settings[row[1]],
                self.axis.quantity: self.value[row].item(),
                "low": interval.low[row].item(),
                "high": interval.high[row].item(),
                "change": change.mean[row].item(),
                "change_low": change.low[row].item(),
                "change_high": change.high[row].item(),
                **self._limits_of(row),
                **{name: values[row].item() for name, values in metrics.items()},
            }
            for row in self._rows()
        ]

    def _limits_of(self, row: tuple[int, int]) -> dict[str, Any]:
        if self.limits is None:
            return {} if self.is_beyond is None else {"is_beyond": bool(self.is_beyond[row])}
        limits = self.limits[row[1]]
        return {
            "limit": limits.rate.item(),
            "memory_limit": limits.memory.item(),
            "work_limit": limits.work.item(),
            "is_at_limit": bool(self.is_at_limit[row]),
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return :meth:`records` as a table."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError('to_pandas needs pandas: pip install "jaxsched[pandas]"') from error
        return pd.DataFrame(self.records())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: the goal, :meth:`records`, and attainment at every point tried.

        What is NaN there is None here.
        """
        results = []
        for record, (rule, setting) in zip(self.records(), self._rows(), strict=True):
            curve = self.curve[self.rules[rule]][setting]
            attainment = curve.metrics["attainment"].mean(axis=-1)
            tried = {"at": curve.at.tolist(), "attainment": attainment.tolist()}
            results.append({name: _plain(value) for name, value in record.items()})
            results[-1]["tried"] = tried
        return {
            "quantity": self.axis.quantity,
            "description": self.description,
            "goal": self.goal._asdict(),
            "predictions": self.predictions_text,
            "intervals": self._interval_name,
            "notes": self.notes(),
            "results": results,
        }

    def plot(self, *, title: str = "") -> dict[str, Axes]:
        """Draw attainment and p99 TTFT at every point tried: see :func:`jaxsched.plots.load`.

        Args:
          title: what was run, such as the workload and the server; it stands above the
            :attr:`description`.

        Returns:
          The axes by name.

        Raises:
          ImportError: matplotlib is not installed.
        """
        low, high = np.nanmin(self.value), np.nanmax(self.value)
        at, metrics = {}, {metric: {} for metric in _DRAWN}
        for rule, setting in self._rows():
            curve, name = self.curve[self.rules[rule]][setting], self._name(rule, setting)
            is_near = (curve.at >= low / _AROUND) & (curve.at <= high * _AROUND)
            at[name] = curve.at[is_near]
            for metric in _DRAWN:
                metrics[metric][name] = curve.metrics[metric][is_near]
        return plots.load(
            at,
            metrics,
            targets={"attainment": self.goal.attainment},
            load_label=_LABELS[self.axis.quantity],
            title=f"{title}\n{self.description}".lstrip(),
        )

    def table(self) -> _tables.FittedTable:
        """Lay the answer out as a ``rich`` table."""
        return _tables.FittedTable(self._layout())

    def __repr__(self) -> str:
        """Values only."""
        found = ", ".join(f"{self._name(*row)}: {number(self.value[row])}" for row in self._rows())
        return f"ServicePlan({self.axis.quantity} in {self.axis.unit}; {found})"

    def _layouts(self) -> list[Layout]:
        return [self._layout()]

    def _layout(self) -> Layout:
        columns = [*self._names(), *self._found(), *self._service()]
        name, share = self._interval_name, 100 * self.goal.attainment
        return Layout(
            title=f"{self.description}\n{share:.6g}% of requests: {self.targets_text}",
            columns=columns,
            caption="\n".join(
                [
                    self.predictions_text,
                    *([f"{name} intervals over streams"] if name else []),
                    *limit_lines(self),
                    *self.notes(),
                ]
            ),
            best_row=self._best_row if self.value.size > 1 else None,
        )

    def _names(self) -> list[Column]:
        """Rules, and the settings that were varied."""
        rows = self._rows()
        names = [Column("rule", [self.rules[rule] for rule, _ in rows])]
        for name in self.settings[0]:
            values = [str(self.settings[setting][name]) for _, setting in rows]
            header = textwrap.wrap(name.replace("_", "_ "), _HEADER_WIDTH)
            names.append(Column("\n".join(header).replace(" ", ""), values))
        return names

    def _found(self) -> list[Column]:
        """Show what was looked for, with its interval and the change from the first row."""
        rows, interval, change = self._rows(), self.interval, self.change
        header = "rate\n(req/s)" if self.axis.is_falling else f"{self.axis.unit}\nneeded"
        has_star = self.is_at_limit if self.is_beyond is None else self.is_beyond
        found = [f"{number(self.value[row])}{'*' * bool(has_star[row])}" for row in rows]
        columns = [Column(header, found)]
        if not np.isnan(interval.low).all():
            spans = [span(interval.low[row], interval.high[row]) for row in rows]
            columns.append(Column("95%\ninterval", spans))
        if len(rows) > 1:
            cells = [
                written(
                    Estimate(change.mean[row], change.low[row], change.high[row]), is_share=True
                )
                for row in rows[1:]
            ]
            columns.append(Column("change\nvs first", ["-", *cells]))
        return columns

    def _service(self) -> list[Column]:
        """Show the service at the value found."""
        columns = []
        for header, metric, scale, style in _SHOWN:
            if metric not in self.curve[self.rules[0]][0].metrics:
                continue
            found = self.estimate(metric)
            cells = [
                written(Estimate(*(scale * each[row] for each in found)), **style)
                for row in self._rows()
            ]
            columns.append(Column(header, cells))
        return columns

    @property
    def _interval_name(self) -> str | None:
        if self.curve[self.rules[0]][0].metrics["attainment"].shape[-1] < 2:
            return None
        return "95% t" if self.key is None else "95% bootstrap"

    @property
    def _best_row(self) -> int:
        flat = self.value.reshape(-1)
        if self.is_beyond is not None and not self.is_beyond.all():
            flat = np.where(self.is_beyond.reshape(-1), np.nan, flat)
        if np.isnan(flat).all():
            return 0
        return int(np.nanargmax(flat) if self.axis.is_falling else np.nanargmin(flat))

    def _rows(self) -> list[tuple[int, int]]:
        return list(np.ndindex(*self.value.shape))

    def _name(self, rule: int, setting: int) -> str:
        values = [f"{name}={value}" for name, value in self.settings[setting].items()]
        return ", ".join([self.rules[rule], *values])

    def _crossings(self) -> np.ndarray:
        """Crossing of all streams, and of all but each one, ``[R, S, 1 + B]``."""
        found = []
        for rule, setting in self._rows():
            curve = self.curve[self.rules[rule]][setting]
            means = means_without_one(curve.metrics["attainment"])
            if self.axis.is_whole:
                found.append(np.full(len(means), np.nan))
                continue
            least, is_falling = self.goal.least, self.axis.is_falling
            found.append([crossing(curve.at, each, least, is_falling=is_falling) for each in means])
            if is_falling:  # what never misses takes the limit, if there is one
                is_open = np.isnan(found[-1]) & (means[:, 0] >= least)
                most = self.rate_limit[setting]
                capped = np.minimum(np.where(is_open, np.inf, found[-1]), most)
                found[-1] = np.where(np.isinf(capped), np.nan, capped)
        return np.asarray(found).reshape(*self.value.shape, -1)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
