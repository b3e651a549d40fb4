"""What service the requests of many streams got from one server, by several rules."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxsched import bounds
from jaxsched._lib.layout import Column, Layout
from jaxsched._lib.progress import progress_bar
from jaxsched._lib.words import counted
from jaxsched.metrics import service_summary
from jaxsched.metrics.statistics import Estimate
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.server import Server
from jaxsched.policies import serve
from jaxsched.show import plots
from jaxsched.show.tables import written
from jaxsched.studies.comparing.rule_metrics import RuleMetrics, not_among_rules
from jaxsched.studies.serving.goal import targets_text
from jaxsched.studies.serving.rules import (
    ServingRules,
    by_name,
    predictions_text,
    require_one,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHANGES = {
    "TTFT\nmean": "mean_ttft_s",
    "TTFT\np99": "p99_ttft_s",
    "TPOT\nmean": "mean_tpot_s",
    "E2E\nmean": "mean_e2e_s",
    "E2E\np99": "p99_e2e_s",
    "goodput": "goodput_requests_per_s",
}
_DIFFERENCES = (
    ("attain-\nment\n(points)", "attainment", 100),
    ("evic-\ntions\n(number)", "num_preemptions", 1),
)
_MOST_RECORDED = 5_000_000  # tokens of a stream whose steps are recorded for a picture


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ServiceComparison(RuleMetrics):
    """Rules side by side at one server; made by :func:`jaxsched.compare`. Printing shows tables.

    Means are over streams. Intervals are 95%, by Student's t or, where ``compare`` was given a
    key, by the bootstrap; NaN (blank) for a single stream. Differences and changes are paired.

    Attributes:
      reqs: the requests, ``[n]`` or ``[.., n]``.
      server: what serves them; one for all streams.
      targets: ``ttft_slo_s``, ``tpot_slo_s``, ``e2e_slo_s`` and ``window``, None where there is
        none.
      by_name: the rules as they were given, by name.
      outcomes: what became of the requests, by rule.
      metrics: ``metrics[rule][metric]`` is that metric of each stream ``[..]``, see
        :func:`jaxsched.metrics.service_summary`; with a bound also ``gap``, the total latency over
        what any rule needs with foresight, minus 1; NaN where not all requests were served.
      baseline: the rule that the others are compared with, or None.
      key: the jax random key of the bootstrap, or None for t intervals.
    """

    reqs: Requests
    server: Server
    targets: dict[str, Any]
    by_name: dict[str, Any]
    outcomes: dict[str, Outcome]
    metrics: dict[str, dict[str, np.ndarray]]
    baseline: str | None = None
    key: jax.Array | None = None

    @property
    def description(self) -> str:
        """What the rules were run on, in a phrase."""
        num_requests = np.asarray(self.reqs.num_requests)
        streams = counted(num_requests.size, "stream")
        requests = counted(int(num_requests.min()), "request", int(num_requests.max()))
        return f"{streams} of {requests}, {counted(int(self.server.kv_capacity), 'KV token')}"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: the setting, and :meth:`records` as ``rules[rule][metric]``."""
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
            "baseline": self.baseline,
            "rules": self.numbers_by_rule(),
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
            logs = {
                name: serve(reqs, self.server, rule, record=True)[1]
                for name, rule in self.by_name.items()
            }
        return plots.service(reqs, outcomes, logs, title=title)

    def __repr__(self) -> str:
        """Names and counts only."""
        return f"ServiceComparison({', '.join(self.rules)}; {self.description})"

    def _layouts(self, has_stars: bool = False) -> list[Layout]:
        """Three tables: what users see first, how tokens follow, and what the server did."""
        tables = [
            self._latencies(("TTFT", "ttft_s", "ms"), ("E2E", "e2e_s", "s")),
            self._latencies(("TPOT", "tpot_s", "ms"), ("ITL", "itl_s", "ms")),
            self._work(),
        ]
        if self.baseline is not None and len(self.rules) > 1:
            tables.append(self._changes_table(has_stars))
        layouts = [Layout(title="", columns=columns, caption="") for columns in tables]
        layouts[0] = layouts[0]._replace(title=self.description)
        layouts[-1] = layouts[-1]._replace(caption=self._caption(has_stars))
        return layouts

    def _paper_layouts(self) -> list[Layout]:
        return self._layouts(has_stars=self._is_tested)

    def _caption(self, has_stars: bool) -> str:
        """Say what the tables do not: whom they count, targets, what rules know, intervals."""
        lines = []
        if (window := self.targets["window"]) is not None:
            lines.append(
                f"latencies and counts are of arrivals from {window[0]:g} to {window[1]:g} s"
            )
        if self.reqs.is_counted is not None:
            share = np.sum(self.reqs.is_counted) / np.sum(self.reqs.is_real)
            lines.append(f"latencies and counts are of {100 * share:.3g}% of requests, after a cut")
        if goals := targets_text(self.targets, self.reqs):
            lines.append(f"goodput and attainment: {goals}")
        lines.append(predictions_text(self.reqs))
        if np.size(self.reqs.num_requests) > 1:
            kind = "t" if self.key is None else "bootstrap"
            lines.append(f"means over streams, ± 95% {kind} intervals")
        if has_stars:
            lines.append(self._stars_caption("streams"))
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

    def _changes_table(self, has_stars: bool) -> list[Column]:
        """Show changes from the baseline, paired by stream; of attainment and evictions, points."""
        others = [rule for rule in self.rules if rule != self.baseline]
        columns = [Column(f"change\nvs {self.baseline}", others)]
        known = self.metrics[self.rules[0]]
        for header, metric in _CHANGES.items():
            if metric in known:
                change = self.change(metric)
                marks = self._stars(metric) if has_stars else dict.fromkeys(others, "")
                cells = [written(change[rule], is_share=True) + marks[rule] for rule in others]
                columns.append(Column(header, cells))
        for header, metric, scale in _DIFFERENCES:
            if metric in known:
                difference = self.difference(metric)
                marks = self._stars(metric) if has_stars else dict.fromkeys(others, "")
                cells = [written(_scaled(difference[rule], scale)) + marks[rule] for rule in others]
                columns.append(Column(header, cells))
        return columns

    def _column(self, header: str, metric: str, scale: float = 1, **style: bool) -> list[Column]:
        """Make the column of a metric, if it was measured."""
        if metric not in self.metrics[self.rules[0]]:
            return []
        estimates = self.estimate(metric).values()
        cells = [written(_scaled(one, scale), **style) for one in estimates]
        return [Column(header, cells)]

    def _statuses(self, rule: str) -> dict[str, int]:
        """Count the requests of each status."""
        out = self.outcomes[rule]
        codes, counts = np.unique(out.status[out.is_real], return_counts=True)
        return {Status(code).name: int(count) for code, count in zip(codes, counts, strict=True)}


def compare_service(
    reqs: Requests,
    rules: ServingRules,
    server: Server,
    baseline: str | None,
    key: jax.Array | None,
    targets: dict[str, Any],
    bound: bounds.HindsightBound | None,
    progress: bool | None,
) -> ServiceComparison:
    """Serve the same streams by several rules and measure the service; see ``compare``."""
    reqs = jax.tree.map(np.asarray, reqs)
    require_one(server)
    named = by_name(rules)
    if baseline is not None and baseline not in named:
        raise not_among_rules(baseline, named)
    outcomes: dict[str, Outcome] = {}
    metrics: dict[str, dict[str, np.ndarray]] = {}
    least_s = None if bound is None else bounds.hindsight(reqs, server, bound)
    with progress_bar(len(named), "rules", progress) as bar:
        for name, rule in named.items():
            outcomes[name] = out = serve(reqs, server, rule)
            metrics[name] = service_summary(reqs, out, server=server, **targets)
            if least_s is not None:
                total_s = np.where(out.is_real, out.latency, 0).sum(axis=-1)
                metrics[name]["gap"] = total_s / least_s - 1
            bar.update()
    return ServiceComparison(reqs, server, targets, named, outcomes, metrics, baseline, key)


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    return Estimate(*(scale * each for each in estimate))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
