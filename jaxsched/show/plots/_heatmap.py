"""A table of numbers as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxsched.show.plots._axes import new_axes, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.heatmap([[0.1, 0.2]], ["fcfs"], [8, 16], row_label="rule",
      ...                       column_label="capacity")
      >>> [text.get_text() for text in ax.texts]
      ['0.1', '0.2']
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
        ax.text(column, row, written(value), ha="center", va="center", color=color)
    ax.set_xticks(range(len(columns)), [str(column) for column in columns])
    ax.set_yticks(range(len(rows)), [str(row) for row in rows])
    ax.set_xlabel(column_label)
    ax.set_ylabel(row_label)
    ax.set_title(title, fontsize="medium")
    return ax
