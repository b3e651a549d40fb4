"""What a server did over time, and how long its requests took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.metrics.paired import paired
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.show._service_curves import ServiceCurves, curves_of_log, curves_of_outcome
from jaxsched.show.plots._axes import panels
from jaxsched.show.plots._frame import finish, finish_figure
from jaxsched.show.plots._shares import draw_shares
from jaxsched.show.plots._style import line_style, require_distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OVER_TIME = {"running": "requests running", "waiting": "requests waiting", "kv": "KV cache in use"}
_LATENCIES = {"ttft": "time to first token (s)", "e2e": "end-to-end latency (s)"}
_TIME, _SHARE = "time (s)", "share of requests"


def service(
    reqs: Requests,
    out: Outcome | Mapping[str, Outcome],
    log: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    figure: Figure | None = None,
) -> dict[str, Axes]:
    """Draw what servers did over time, and the shares of requests by TTFT and E2E latency.

    Over time there are the requests that run, those that wait and, from logs, the share of the KV
    cache in use. Without a log they come from the times of the outcome, where an evicted request
    counts as running until it completes. They are drawn for single streams alone; the requests
    of several count alike. Requests that never completed count as never done.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``.
      out: their outcome in seconds, or several by name.
      log: the recorded run, see :func:`jaxsched.verify_service`, or several by the same names.
      title: above the picture, such as the workload and the server.
      figure: a matplotlib figure, best with ``layout="constrained"``; None makes one.

    Returns:
      The axes by name: ``"running"``, ``"waiting"``, ``"kv"``, ``"ttft"``, ``"e2e"``, as far as
      they are drawn.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: an outcome has other requests, counts rounds or completed none; names of logs
        are others; or there are more outcomes than can be told apart.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.5], [300, 20], [5, 1])
      >>> out = js.Outcome(
      ...     arrival=np.array([0.0, 0.5]), first_scheduled=np.array([0.0, 1.0]),
      ...     first_token=np.array([0.5, 1.5]), completion=np.array([2.5, 1.5]),
      ...     num_preemptions=np.array([0, 0]), status=np.array([0, 0]), is_real=np.array([1, 1]))
      >>> axes = js.plots.service(reqs, out)
      >>> list(axes)
      ['running', 'waiting', 'ttft', 'e2e']
    """
    several = isinstance(out, Mapping)
    outcomes = {
        name: paired(reqs, each)[1] for name, each in (out if several else {"": out}).items()
    }
    logs = log if several or log is None else {"": log}
    require_distinct(len(outcomes), "outcomes")
    curves = _curves(outcomes, logs)
    over_time = [name for name in _OVER_TIME if curves and (name != "kv" or logs)]
    axes = panels([*([name, name] for name in over_time), ["ttft", "e2e"]], figure)
    num_requests = {name: int(each.is_real.sum()) for name, each in outcomes.items()}
    lines: list[Any] = []
    for name, label in _LATENCIES.items():
        latencies = {key: _latencies(each, name) for key, each in outcomes.items()}
        lines = draw_shares(axes[name], latencies, "out", num_requests)
        for line in lines:
            line.set_label("")  # the figure has the legend
        finish(axes[name], x_label=label, y_label=_SHARE if name == "ttft" else "")
    for name in over_time:
        _draw_curves(axes[name], [(each.at_s, getattr(each, name)) for each in curves])
        is_last = name == over_time[-1]
        axes[name].tick_params(labelbottom=is_last)
        finish(axes[name], x_label=_TIME if is_last else "", y_label=_OVER_TIME[name])
    if "kv" in over_time:
        axes["kv"].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    finish_figure(axes["ttft"].figure, lines, list(outcomes), title)
    return axes


def _draw_curves(ax: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    for number, (at_s, values) in enumerate(curves):
        style: dict[str, Any] = line_style(number) | {"marker": ""}
        ax.step(at_s, values, where="post", linewidth=1, **style)
    ax.set_xlim(left=min(at_s[0] for at_s, _ in curves))
    ax.set_ylim(bottom=0)


def _latencies(out: Outcome, name: str) -> np.ndarray:
    """TTFT or E2E of the requests that completed."""
    values = out.ttft if name == "ttft" else out.latency
    return values[out.is_real & (out.status == Status.OK)]


def _curves(outcomes: Mapping[str, Outcome], logs: Mapping[str, Any] | None) -> list[ServiceCurves]:
    """Curves of each outcome; none of several streams."""
    if logs is not None and set(logs) != set(outcomes):
        raise InputError("log", list(logs), f"expected logs of {', '.join(outcomes)}")
    if any(out.completion.ndim > 1 for out in outcomes.values()):
        if logs is not None:
            finding = "records one stream, but there are several"
            raise InputError("log", "", "give one, such as reqs[0] and out[0]", finding=finding)
        return []
    if logs is None:
        return [curves_of_outcome(out) for out in outcomes.values()]
    return [curves_of_log(logs[name]) for name in outcomes]
