"""What a log says of a server: the answer, its numbers, and its page."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxsched._lib.writing import write_whole
from jaxsched.bounds import StabilityLimits
from jaxsched.metrics.statistics import Estimate
from jaxsched.metrics.traffic import Traffic
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server
from jaxsched.servers import NamedServer
from jaxsched.show import plots
from jaxsched.show.page import page_html
from jaxsched.show.tables import plain_text
from jaxsched.studies.rates.searching import ServiceCurve
from jaxsched.studies.rates.service_plan import ServicePlan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN = ("attainment", "p99_ttft_s", "p99_tpot_s")


class Choice(NamedTuple):
    """A rule and settings, and what the server takes with them.

    Attributes:
      rule: its name.
      setting: the settings that were varied, by name.
      server: the server with them.
      rate: highest rate within the targets on the runs to check on, at most ``limit``.
      interval: where the mean attainment crosses the goal, with 95% limits, likewise.
      change: by the name of each choice, ratio of crossings to its, minus 1, paired by run.
      limit: rate that no rule keeps up with; infinite where requests are refused.
      is_limited: whether the goal is still met at that limit.
    """

    rule: str
    setting: dict[str, Any]
    server: Server
    rate: float
    interval: Estimate
    change: dict[str, Estimate]
    limit: float
    is_limited: bool


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Decision:
    """What a server takes of a log's traffic, and which settings and order would give more.

    Made by :func:`jaxsched.decide`. Printing shows the answer, :meth:`to_html` writes all of it.

    Attributes:
      reqs: the log, ``[n]``.
      server: the server as it is set now.
      known: what is known of its clock, or None.
      traffic: rates, gaps and lengths, see :func:`jaxsched.metrics.traffic`.
      search: rates of every rule and setting, on the runs to choose by.
      choices: what is taken now, and with the settings, the order or both that were best in
        ``search``; measured on the runs to check on. Keys are ``"now"``, ``"settings"``,
        ``"order"`` and ``"both"``.
      check: the plan that ``choices`` were read from.
      erring: rates of ``"both"`` where predicted output lengths err, on the runs to check on;
        None where the log has predictions of its own.
      sigma: spread of the logarithm of these errors.
      load: service over the rate by the name of rule and settings, on the runs to check on.
      limits: of each choice, rates that no rule keeps up with.
      least_latency_s: mean latency that no order of these runs beats at the rate taken now; NaN
        where the bound does not hold.
      num_runs: runs to choose by, and runs to check on.
      num_requests: requests of a run.
    """

    reqs: Requests
    server: Server
    known: NamedServer | None
    traffic: Traffic
    search: ServicePlan
    choices: dict[str, Choice]
    check: ServicePlan
    erring: ServicePlan | None
    sigma: float
    load: dict[str, ServiceCurve]
    limits: dict[str, StabilityLimits]
    least_latency_s: float
    num_runs: int
    num_requests: int

    @property
    def best(self) -> str:
        """Which of ``choices`` to take.

        From the easiest to the hardest to do (now, settings, order, both) each one counts that
        takes more than the last that counted, where the interval of that change excludes 0.
        """
        best = "now"
        for name, choice in self.choices.items():
            if _is_gain(choice.change[best], choice.rate - self.choices[best].rate):
                best = name
        return best

    @property
    def servers_at_peak(self) -> float:
        """Servers, as they are set now, that the busiest bin of time needs; no queue counted."""
        rate = self.choices["now"].rate
        return math.ceil(self.traffic.peak_rate / rate) if rate else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: traffic, choices, bounds, and every plan; NaN is None."""
        return {
            "traffic": {
                name: value.tolist() if isinstance(value, np.ndarray) else _plain(value)
                for name, value in self.traffic._asdict().items()
                if name != "dispersion"
            }
            | {
                "dispersion": {
                    str(window): each for window, each in self.traffic.dispersion.items()
                }
            },
            "best": self.best,
            "choices": {name: _choice(choice) for name, choice in self.choices.items()},
            "least_latency_s": _plain(self.least_latency_s),
            "num_runs": self.num_runs,
            "num_requests": self.num_requests,
            "search": self.search.to_dict(),
            "check": self.check.to_dict(),
            "erring": None if self.erring is None else self.erring.to_dict(),
        }

    def plot(self, *, title: str = "", figure: Figure | None = None) -> dict[str, Axes]:
        """Draw attainment, p99 TTFT and p99 TPOT of every order over the rate.

        Args:
          title: above the picture, such as the log and the server.
          figure: a matplotlib figure, best with ``layout="constrained"``; None makes one.

        Returns:
          The axes by the names of the metrics, see :func:`jaxsched.plots.load`.

        Raises:
          ImportError: matplotlib is not installed.
        """
        goal = self.search.goal
        targets = {"attainment": goal.attainment} | {
            f"p99_{name.removesuffix('_slo_s')}_s": seconds
            for name, seconds in goal.targets.items()
            if seconds is not None
        }
        metrics = {
            metric: {name: curve.metrics[metric] for name, curve in self.load.items()}
            for metric in _DRAWN
        }
        for metric in _DRAWN[1:]:  # whose intervals would hide the lines
            metrics[metric] = {name: of.mean(axis=-1) for name, of in metrics[metric].items()}
        at = {name: curve.at for name, curve in self.load.items()}
        return plots.load(at, metrics, targets=targets, title=title, figure=figure)

    def to_html(self, path: str | os.PathLike[str], *, name: str = "", made_by: str = "") -> None:
        """Write one page that holds everything and needs nothing from elsewhere.

        Args:
          path: the file, written whole or not at all.
          name: what the log is called.
          made_by: how it was made, such as a command; it stands at the foot.

        Raises:
          ImportError: matplotlib is not installed.
        """
        from jaxsched.studies.decisions.sections import page

        text = page_html(page(self, name, made_by))
        write_whole(Path(path), lambda partial: partial.write_text(text, encoding="utf-8"))

    def __repr__(self) -> str:
        """Rates only."""
        rates = ", ".join(f"{name}: {choice.rate:.4g}" for name, choice in self.choices.items())
        return f"Decision({rates} req/s; best: {self.best})"

    def __str__(self) -> str:
        """Lay the answer out as plain text."""
        from jaxsched.studies.decisions.answer import choices_layout, verdict

        return f"{' '.join(verdict(self))}\n\n{plain_text(choices_layout(self))}"


def _is_gain(change: Estimate, difference: float) -> bool:
    """Tell whether a change is beyond chance; without an interval, whether the rate is higher."""
    if math.isnan(change.low):
        return difference > 0
    return bool(change.low > 0)


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "rule": choice.rule,
        "setting": choice.setting,
        "rate": choice.rate,
        "low": _plain(choice.interval.low),
        "high": _plain(choice.interval.high),
        "change": _plain(choice.change["now"].mean),
        "change_low": _plain(choice.change["now"].low),
        "change_high": _plain(choice.change["now"].high),
        "limit": _plain(choice.limit),
        "is_limited": choice.is_limited,
    }


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
