"""Service against load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched._lib.errors import InputError, wrong_shape
from jaxsched.metrics.statistics import estimate_means
from jaxsched.show.plots._axes import panels
from jaxsched.show.plots._frame import finish, finish_figure
from jaxsched.show.plots._log_ticks import label_log_axis
from jaxsched.show.plots._style import TARGET, line_style, require_distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_WIDE = 8  # a wider span of seconds is drawn on a logarithmic axis
_PANEL_INCHES, _NAME_INCHES, _NAMES_IN_A_ROW = 2.3, 0.2, 2
_UNITS = {
    "_requests_per_s": " (requests/s)",
    "_total_tokens_per_s": " (all tokens/s)",
    "_tokens_per_s": " (tokens/s)",
    "_s": " (s)",
}
_CAPITALS = ("ttft", "tpot", "itl", "e2e", "kv")
_MARKERS_A_LINE = 12  # more would hide it


def load(
    at: Any,
    metrics: Mapping[str, Mapping[str, Any]],
    *,
    targets: Mapping[str, float] | None = None,
    load_label: str = "rate (requests/s)",
    title: str = "",
    figure: Figure | None = None,
) -> dict[str, Axes]:
    """Draw metrics against load, one panel a metric and one line a rule, with 95% t intervals.

    Loads are on a logarithmic axis, and so are seconds that span more than a factor of 8.

    Args:
      at: the loads, ``[K]`` for all rules, or by rule.
      metrics: of each metric, by its name in :func:`jaxsched.metrics.service_summary`, and of
        each rule the values of every stream, ``[K, B]``; or ``[K]``, without intervals.
      targets: of metrics by name what they should reach or not exceed, drawn as lines.
      load_label: what loads are counted in.
      title: above the picture, such as the workload and the server.
      figure: a matplotlib figure, best with ``layout="constrained"``; None makes one.

    Returns:
      The axes by the names of the metrics.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are no metrics, more rules than can be told apart, or not a value for
        every load.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> axes = js.plots.load([5, 10, 20], {"attainment": {
      ...     "fcfs": [[1.0, 0.9], [0.8, 0.9], [0.1, 0.3]],
      ...     "smallest_volume": [[1.0, 1.0], [0.9, 0.9], [0.7, 0.5]]}})
      >>> axes["attainment"].get_xlabel()
      'rate (requests/s)'
    """
    is_empty = not (isinstance(metrics, Mapping) and metrics and all(metrics.values()))
    if is_empty:
        expectation = "expected values by metric and by rule, such as plan.curve holds"
        raise InputError("metrics", metrics, expectation)
    rules = list(dict.fromkeys(rule for of_rules in metrics.values() for rule in of_rules))
    require_distinct(len(rules), "rules")
    height = 1 + _PANEL_INCHES * len(metrics) + _NAME_INCHES * -(-len(rules) // _NAMES_IN_A_ROW)
    axes = panels([[metric] for metric in metrics], figure, height)
    lines: dict[str, Any] = {}
    for metric, of_rules in metrics.items():
        for rule, values in of_rules.items():
            loads = at[rule] if isinstance(at, Mapping) else at
            place = rules.index(rule)
            lines[rule] = _draw(axes[metric], rule, place, np.asarray(loads), np.asarray(values))
    for metric, ax in axes.items():
        target = (targets or {}).get(metric)
        if target is not None:
            ax.axhline(target, color=TARGET, linestyle="--", linewidth=1)
        _scale(ax, metric)
        is_last = ax is axes[list(axes)[-1]]
        label_log_axis(ax, "x")
        ax.tick_params(labelbottom=is_last)
        finish(ax, x_label=load_label if is_last else "", y_label=_label(metric))
    finish_figure(next(iter(axes.values())).figure, [lines[rule] for rule in rules], rules, title)
    return axes


def _draw(ax: Axes, rule: str, number: int, at: np.ndarray, values: np.ndarray) -> Line2D:
    """Draw one line, with a band where there are several streams."""
    if values.shape[:1] != at.shape:
        raise wrong_shape(f"values of {rule!r}", values.shape, beside=f"there are {at.size} loads")
    found = estimate_means(values[:, None] if values.ndim == 1 else values)
    style = line_style(number)
    every = max(1, -(-at.size // _MARKERS_A_LINE))
    (line,) = ax.plot(at, found.mean, markersize=5, markevery=every, linewidth=1.2, **style)
    if not np.isnan(found.low).all():
        ax.fill_between(at, found.low, found.high, color=style["color"], alpha=0.15, linewidth=0)
    return line


def _scale(ax: Axes, metric: str) -> None:
    """Shares and counts start at 0, and so do seconds unless they span too much."""
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in ax.get_lines()])
    values = values[np.isfinite(values)]
    is_time = metric.endswith("_s") and not metric.endswith("per_s")
    if is_time and values.size and 0 < _WIDE * values.min() < values.max():
        ax.set_ylim(values.min() / 1.1, values.max() * 1.1)
        label_log_axis(ax, "y")
        return
    ax.set_ylim(bottom=0)
    if metric == "attainment" or "share" in metric:
        ax.set_ylim(top=1.03)
        ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def _label(metric: str) -> str:
    """Write ``p99_ttft_s`` as "p99 TTFT (s)"."""
    ending = next((ending for ending in _UNITS if metric.endswith(ending)), "")
    words = metric.removesuffix(ending).removeprefix("num_").split("_")
    name = " ".join(word.upper() if word in _CAPITALS else word for word in words)
    return name + _UNITS.get(ending, "")
