"""Means with their intervals, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxsched.metrics.statistics import Estimate
from jaxsched.show.plots._axes import new_axes
from jaxsched.show.plots._frame import finish, room, text_size
from jaxsched.show.plots._style import BAR, LIMIT
from jaxsched.show.plots._text import text_width, widest, wrapped
from jaxsched.show.tables import written

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

    Numbers have as many digits as their intervals warrant, as in tables.

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
    size, (width, _) = text_size(ax), room(ax)
    numbers = [written(Estimate(*each)).partition("±")[0] for each in estimates.values()]
    number_width = widest(numbers, size) + 2 * _GAP
    longest = max(np.nanmax(end), limit or 0.0)
    ax.set_xlim(0, longest / (1 - number_width / max(width, 2 * number_width)))
    ax.set_xticks(_ticks(ax, size, width))
    for row, number in enumerate(numbers):
        _write(ax, number, end[row], row, size, width)
    if limit is not None:
        ax.axvline(limit, color=LIMIT, linestyle="--")
        number = written(Estimate(limit, limit, limit))
        _write(ax, f"{limit_label} {number}".strip(), limit, len(mean), size, width, color=LIMIT)
    return ax


def _ticks(ax: Axes, size: float, width: float) -> list[float]:
    """Round numbers, as many as fit, and none so near the end that it would be cut off."""
    from matplotlib.ticker import MaxNLocator

    end = ax.get_xlim()[1]
    locator = MaxNLocator(nbins=int(np.clip(width / (4 * size), 1, 9)), steps=(1, 2, 5, 10))
    half = text_width(f"{end:.0f}", size) / 2
    return [tick for tick in locator.tick_values(0, end) if tick / end + half / width <= 1]


def _write(
    ax: Axes, text: str, at: float, row: float, size: float, width: float, color: str = "black"
) -> None:
    """Write at the right of a place, or at its left where only there is enough room."""
    at_left = width * at / ax.get_xlim()[1] - _GAP
    at_right = width - at_left - 2 * _GAP
    is_right = text_width(text, size) <= at_right or at_right >= at_left
    ax.annotate(
        wrapped(text, at_right if is_right else at_left, size),
        (at, row),
        xytext=(_GAP if is_right else -_GAP, 0),
        textcoords="offset points",
        verticalalignment="center",
        horizontalalignment="left" if is_right else "right",
        color=color,
        fontsize=size,
    )
