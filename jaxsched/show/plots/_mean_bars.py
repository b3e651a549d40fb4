"""Means with their intervals, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxsched.metrics.statistics import Estimate
from jaxsched.show.plots._axes import BAR, LIMIT, new_axes, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
      label: what the bars measure, with its unit.
      title: above the picture.
      limit: a value that no bar can fall below, drawn as a line.
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
    ax = new_axes(len(estimates)) if ax is None else ax
    mean, low, high = np.array(list(estimates.values()), np.float64).T
    place = np.arange(len(mean))
    ax.barh(place, mean, color=BAR, height=0.7)
    has_interval = np.isfinite(high)
    ax.errorbar(
        mean[has_interval],
        place[has_interval],
        xerr=[(mean - low)[has_interval], (high - mean)[has_interval]],
        fmt="none",
        ecolor="black",
        capsize=3,
        linewidth=1.2,
    )
    for row in place:
        end = high[row] if has_interval[row] else mean[row]
        ax.annotate(
            written(mean[row]),
            (end, row),
            xytext=(5, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    if limit is not None:
        ax.axvline(limit, color=LIMIT, linestyle="--")
        ax.annotate(
            f"{limit_label} {written(limit)}",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            horizontalalignment="center",
            color=LIMIT,
        )
    ax.set_yticks(place, list(estimates))
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * np.nanmax(np.where(has_interval, high, mean)))
    ax.set_xlabel(label)
    ax.set_title(title, fontsize="medium", pad=6 if limit is None else 20)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
