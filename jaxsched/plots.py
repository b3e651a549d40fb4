"""Pictures, drawn with matplotlib on axes that the caller may supply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxsched._intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two colours of Okabe and Ito's palette, told apart by colour-blind readers and in grey.
_BAR, _LIMIT = "#56B4E9", "#D55E00"


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
    """
    ax = new_axes(len(estimates)) if ax is None else ax
    mean, low, high = np.array(list(estimates.values()), np.float64).T
    place = np.arange(len(mean))
    ax.barh(place, mean, color=_BAR, height=0.7)
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
            _written(mean[row]),
            (end, row),
            xytext=(5, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    if limit is not None:
        ax.axvline(limit, color=_LIMIT, linestyle="--")
        ax.annotate(
            f"{limit_label} {_written(limit)}",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            horizontalalignment="center",
            color=_LIMIT,
        )
    ax.set_yticks(place, list(estimates))
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * np.nanmax(np.where(has_interval, high, mean)))
    ax.set_xlabel(label)
    ax.set_title(title, fontsize="medium", pad=6 if limit is None else 20)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def heatmap(
    values: np.ndarray,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    row_label: str,
    column_label: str,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of numbers as colours, each with its number written on it.

    Args:
      values: float ``[R, C]``.
      rows: what the R rows are, from the top down.
      columns: what the C columns are.
      row_label: what rows differ in.
      column_label: what columns differ in.
      title: what the numbers are, with their unit.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ValueError: the shape of ``values`` is not that of the rows and columns.
      ImportError: matplotlib is not installed.
    """
    values = np.asarray(values, np.float64)
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values has shape {values.shape}; expected {(len(rows), len(columns))}, one number "
            "for each row and column"
        )
    ax = new_axes(len(rows)) if ax is None else ax
    ax.imshow(values, cmap="cividis", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2  # darker below
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value <= middle else "black"
        ax.text(column, row, _written(value), ha="center", va="center", color=color)
    ax.set_xticks(range(len(columns)), [str(column) for column in columns])
    ax.set_yticks(range(len(rows)), [str(row) for row in rows])
    ax.set_xlabel(column_label)
    ax.set_ylabel(row_label)
    ax.set_title(title, fontsize="medium")
    return ax


def new_axes(num_rows: int) -> Axes:
    """Make axes as tall as ``num_rows`` bars need.

    Raises:
      ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "jaxsched[plot]"') from error
    height = 1.5 + 0.45 * num_rows
    return pyplot.subplots(figsize=(7.5, height), layout="constrained")[1]


def _written(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
