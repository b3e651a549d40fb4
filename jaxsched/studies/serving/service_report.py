"""What service the requests of many streams got from one server, by several rules."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult

from jaxsched import bounds
from jaxsched._lib.layout import Column, Layout
from jaxsched._lib.progress import progress_bar
from jaxsched._lib.words import counted
from jaxsched.metrics import service_summary
from jaxsched.metrics.statistics import Estimate, estimate_means
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.server import Server
from jaxsched.policies import serve
from jaxsched.show import plots
from jaxsched.show.tables import FittedTable, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_RECORDED = 5_000_000  # tokens of a stream whose steps are recorded for a picture


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ServiceReport:
    """Rules side by side at one server; made by :func:`report_service`. Printing shows tables.

    Attributes:
      reqs: the requests, ``[n]`` or ``[.., n]``.
      server: what serves them; one for all streams.
      targets: ``ttft_slo_s``, ``tpot_slo_s`` and ``window``, None where there is none.
      outcomes: what became of the requests, by rule.
      metrics: ``metrics[rule][metric]`` is that metric of each stream ``[..]``, see
        :func:`jaxsched.metrics.service_summary`; with a bound also ``gap``, the total latency over
        what any rule needs with foresight, minus 1; NaN where not all requests were served.
    """

    reqs: Requests
    server: Server
    targets: dict[str, Any]
    outcomes: dict[str, Outcome]
    metrics: dict[str, dict[str, np.ndarray]]

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules, in the order they were given."""
        return tuple(self.outcomes)

    @property
    def description(self) -> str:
        """What the rules were run on, in a phrase."""
        num_requests = np.asarray(self.reqs.num_requests)
        streams = counted(num_requests.size, "stream")
        requests = counted(int(num_requests.min()), "request", int(num_requests.max()))
        return f"{streams} of {requests}, {counted(int(self.server.kv_capacity), 'KV token')}"

    def estimate(self, metric: str) -> dict[str, Estimate]:
        """Mean of a metric over streams, for each rule, with its 95% t interval."""
        values = np.stack([of_rule[metric].reshape(-1) for of_rule in self.metrics.values()])
        estimates = estimate_means(values.astype(np.float64))
        return {
            rule: Estimate(*(float(array[row]) for array in estimates))
            for row, rule in enumerate(self.rules)
        }

    def records(self) -> list[dict[str, Any]]:
        """One record for each rule and metric, with ``mean``, ``low`` and ``high``."""
        estimates = {metric: self.estimate(metric) for metric in self.metrics[self.rules[0]]}
        return [
            {"rule": rule, "metric": metric, **of_rules[rule]._asdict()}
            for rule in self.rules
            for metric, of_rules in estimates.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: the setting, and :meth:`records` as ``rules[rule][metric]``."""
        rules: dict[str, dict[str, Any]] = {rule: {} for rule in self.rules}
        for record in self.records():
            rule, metric = record.pop("rule"), record.pop("metric")
            rules[rule][metric] = {
                name: number if math.isfinite(number) else None for name, number in record.items()
            }
        num_requests = np.asarray(self.reqs.num_requests)
        settings = {
            field.name: _plain(getattr(self.server, field.name))
            for field in dataclasses.fields(self.server)
            if field.name not in ("clock", "discipline")
        }
        return {
            "num_streams": num_requests.size,
            "num_requests": int(num_requests.sum()),
            "server": settings,
            "targets": self.targets,
            "statuses": {rule: self._statuses(rule) for rule in self.rules},
            "rules": rules,
        }

    def sentences(self) -> list[str]:
        """Say what became of requests that did not complete; empty if all did."""
        total = counted(int(np.asarray(self.reqs.num_requests).sum()), "request")
        return [
            f"{rule}: {count} of {total}: {Status[name].sentence}"
            for rule in self.rules
            for name, count in self._statuses(rule).items()
            if name != "OK"
        ]

    def plot(self, *, title: str = "") -> dict[str, Axes]:
        """Draw :func:`jaxsched.plots.service`; of one stream that is not too long, with KV use.

        Args:
          title: above the picture, such as the trace and the server.

        Returns:
          The axes by name.

        Raises:
          ImportError: matplotlib is not installed.
        """
        title = f"{title}\n{self.description}".lstrip()
        leading = self.reqs.is_real.shape[:-1]
        if math.prod(leading) > 1:
            return plots.service(self.reqs, self.outcomes, title=title)
        first = (0,) * len(leading)
        reqs = self.reqs[first] if leading else self.reqs
        outcomes = {rule: out[first] if leading else out for rule, out in self.outcomes.items()}
        logs = None
        if (
            int(np.asarray(reqs.prompt_tokens + reqs.output_tokens, np.int64).sum())
            <= _MOST_RECORDED
        ):
            logs = {rule: serve(reqs, self.server, rule, record=True)[1] for rule in self.rules}
        return plots.service(reqs, outcomes, logs, title=title)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, layout in enumerate(self._layouts()):
            if number:
                yield ""
            yield FittedTable(layout)

    def _layouts(self) -> list[Layout]:
        """Three tables: what users see first, how tokens follow, and what the server did."""
        tables = [
            self._latencies(("TTFT", "ttft_s", "ms"), ("E2E", "e2e_s", "s")),
            self._latencies(("TPOT", "tpot_s", "ms"), ("ITL", "itl_s", "ms")),
            self._work(),
        ]
        layouts = [Layout(title="", columns=columns, caption="") for columns in tables]
        layouts[0] = layouts[0]._replace(title=self.description)
        layouts[-1] = layouts[-1]._replace(caption=self._caption())
        return layouts

    def _caption(self) -> str:
        """Say what the tables do not: whom they count, targets, what rules know, intervals."""
        lines = []
        if (window := self.targets["window"]) is not None:
            lines.append(
                f"latencies and counts are of arrivals from {window[0]:g} to {window[1]:g} s"
            )
        goals = [
            f"{name} at most {seconds:g} s"
            for name, seconds in (
                ("TTFT", self.targets["ttft_slo_s"]),
                ("TPOT", self.targets["tpot_slo_s"]),
            )
            if seconds is not None
        ]
        if goals:
            lines.append(f"goodput and attainment: {', '.join(goals)}")
        known = "exact" if self.reqs.predicted_output_tokens is None else "the requests' own"
        lines.append(f"rules know output lengths only as predicted; here predictions are {known}")
        if np.size(self.reqs.num_requests) > 1:
            lines.append("means over streams, ± 95% t intervals")
        return "\n".join(lines)

    def _latencies(self, *measures: tuple[str, str, str]) -> list[Column]:
        columns = [Column("rule", self.rules)]
        for name, metric, unit in measures:
            scale = 1000 if unit == "ms" else 1
            for statistic in ("mean", "p50", "p99"):
                columns += self._column(
                    f"{name}\n{statistic}\n({unit})",
                    f"{statistic}_{metric}",
                    scale=scale,
                    has_interval=statistic == "mean",
                )
        return columns

    def _work(self) -> list[Column]:
        return [
            Column("rule", self.rules),
            *self._column("output\n(tokens/s)", "throughput_tokens_per_s"),
            *self._column("goodput\n(req/s)", "goodput_requests_per_s"),
            *self._column("attain-\nment", "attainment", is_share=True),
            *self._column("evic-\ntions", "num_preemptions", has_interval=False),
            *self._column("KV use\nmean", "mean_kv_share", is_share=True, has_interval=False),
            *self._column("KV use\npeak", "peak_kv_share", is_share=True, has_interval=False),
            *self._column("refused", "num_refused", has_interval=False),
            *self._column("above\nhindsight", "gap", is_share=True),
        ]

    def _column(self, header: str, metric: str, scale: float = 1, **style: bool) -> list[Column]:
        """Make the column of a metric, if it was measured."""
        if metric not in self.metrics[self.rules[0]]:
            return []
        estimates = self.estimate(metric).values()
        cells = [written(Estimate(*(scale * each for each in one)), **style) for one in estimates]
        return [Column(header, cells)]

    def _statuses(self, rule: str) -> dict[str, int]:
        """Count the requests of each status."""
        out = self.outcomes[rule]
        codes, counts = np.unique(out.status[out.is_real], return_counts=True)
        return {Status(code).name: int(count) for code, count in zip(codes, counts, strict=True)}


def report_service(
    reqs: Requests,
    server: Server,
    rules: Sequence[str],
    *,
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
    window: tuple[float, float] | None = None,
    bound: bounds.HindsightBound | None = None,
    progress: bool | None = None,
) -> ServiceReport:
    """Serve the same streams by several rules and measure the service.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``.
      server: one server, whose numbers have no leading axes.
      rules: names that :func:`jaxsched.serve` takes.
      ttft_slo_s: see :func:`jaxsched.metrics.service_summary`.
      tpot_slo_s: likewise.
      window: likewise; the gap to the bound is of all requests nevertheless.
      bound: which of :func:`jaxsched.bounds.hindsight` the gap is to; None for no gap.
      progress: True or False to show a progress bar or not; None shows it on a terminal.

    Returns:
      The :class:`ServiceReport`.

    Raises:
      ValueError: what ``serve``, ``service_summary`` and ``hindsight`` reject.
    """
    reqs = jax.tree.map(np.asarray, reqs)
    targets = {"ttft_slo_s": ttft_slo_s, "tpot_slo_s": tpot_slo_s, "window": window}
    outcomes: dict[str, Outcome] = {}
    metrics: dict[str, dict[str, np.ndarray]] = {}
    least_s = None if bound is None else bounds.hindsight(reqs, server, bound)
    with progress_bar(len(rules), "rules", progress) as bar:
        for rule in rules:
            outcomes[rule] = out = serve(reqs, server, rule)
            metrics[rule] = service_summary(reqs, out, server=server, **targets)
            if least_s is not None:
                total_s = np.where(out.is_real, out.latency, 0).sum(axis=-1)
                metrics[rule]["gap"] = total_s / least_s - 1
            bar.update()
    return ServiceReport(reqs, server, targets, outcomes, metrics)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
