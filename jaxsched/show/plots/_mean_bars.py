"""Means with their intervals, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxsched.metrics.statistics import Estimate
from jaxsched.show.plots._axes import new_axes
from jaxsched.show.plots._frame import finish, room, text_size
from jaxsched.show.plots._style import BAR, LIMIT, written
from jaxsched.show.plots._text import text_width, widest, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 4  # points between a bar or a line and its number


def mean_bars(
    estimates: Mapping[str, Estimate],
    *,
    label: str,
    title: str = "",
    limit: float | None = None,
    limit_label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one bar for each mean, with its interval where there is one.

    Args:
      estimates: the mean and interval of each name, drawn from the top down.
      label: what the bars measure, with its unit, and whether lower or higher is better.
      title: above the picture, such as the workload and the server.
      limit: a value that no bar can fall below, drawn as a line that is named under the bars.
      limit_label: what the limit is called.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.mean_bars({"fcfs": (30.0, 26.0, 33.0)}, label="mean latency (rounds)")
      >>> ax.get_xlabel()
      'mean latency (rounds)'
    """
    has_limit = limit is not None
    ax = new_axes(len(estimates) + has_limit) if ax is None else ax
    mean, low, high = np.array(list(estimates.values()), np.float64).T
    place = np.arange(len(mean))
    has_interval = np.isfinite(high)
    end = np.where(has_interval, high, mean)
    ax.barh(place, mean, color=BAR, height=0.7)
    ax.errorbar(
        mean[has_interval],
        place[has_interval],
        xerr=[(mean - low)[has_interval], (high - mean)[has_interval]],
        fmt="none",
        ecolor="black",
        capsize=3,
        linewidth=1.2,
    )
    finish(ax, x_label=label, title=title, rows=list(estimates))
    ax.set_ylim(len(mean) - 0.5 + 0.9 * has_limit, -0.6)
    longest = max(np.nanmax(end), limit or 0.0)
    ax.set_xlim(0, longest * _stretch(ax, mean))
    for row in place:
        _write(ax, written(mean[row]), end[row], int(row))
    if limit is not None:
        ax.axvline(limit, color=LIMIT, linestyle="--")
        _write(ax, f"{limit_label} {written(limit)}".strip(), limit, len(mean), color=LIMIT)
    return ax


def _stretch(ax: Axes, mean: np.ndarray) -> float:
    """How far the axis goes beyond the longest bar, to hold the number at its end."""
    number = widest(map(written, mean), text_size(ax)) + 2 * _GAP
    return 1 / (1 - number / max(room(ax)[0], 2 * number))


def _write(ax: Axes, text: str, end: float, row: float, *, color: str = "black") -> None:
    """Write at the right of a place, or at its left where only there is enough room."""
    size, width = text_size(ax), room(ax)[0]
    at_left = width * end / ax.get_xlim()[1] - _GAP
    at_right = width - at_left - 2 * _GAP
    is_right = text_width(text, size) <= at_right or at_right >= at_left
    ax.annotate(
        wrapped(text, at_right if is_right else at_left, size),
        (end, row),
        xytext=(_GAP if is_right else -_GAP, 0),
        textcoords="offset points",
        verticalalignment="center",
        horizontalalignment="left" if is_right else "right",
        color=color,
        fontsize=size,
    )
