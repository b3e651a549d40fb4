"""A table of numbers as colors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched._lib.errors import InputError, wrong_shape
from jaxsched.show.plots._axes import new_axes
from jaxsched.show.plots._frame import finish, room, text_size
from jaxsched.show.plots._text import widest, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FAR = 5.0  # standard deviations of a normal distribution, by the median of deviations
_DEVIATION = 1.4826  # of a normal distribution, over the median of its deviations
_LEAST_SIZE = 5.0  # points; smaller numbers cannot be read, and are left to the colors
_CELL_SHARE = 0.85  # of a cell, that its number may take
_FLATTENED = 2.0  # times the span of the others, by values that are far away
_BAR_SIZE, _BAR_SIZES = 0.8, 5.0  # font sizes, height of the color bar alone and with its label
_BAR_SHARE = 0.9  # of the width of the table
_ROWS_FOR_BAR = 2
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue; Rec. 601


def heatmap(
    values: np.ndarray,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    row_label: str,
    column_label: str,
    label: str = "",
    is_share: bool = False,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of numbers as colors, each with its number written on it, and a color bar.

    Numbers have two digits, or all of their whole ones. Colors span the values within 5 standard
    deviations of the median, estimated from the median of the deviations, so that one bad rule
    does not make the others look alike; an arrow on the bar says that there are values beyond.

    Args:
      values: float ``[R, C]``; NaN is blank.
      rows: what the R rows are, from the top down.
      columns: what the C columns are.
      row_label: what rows differ in.
      column_label: what columns differ in.
      label: what the numbers are, and whether lower or higher is better; under the color bar.
      is_share: write per cent.
      title: above the picture.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ValueError: ``values`` has another shape than the rows and columns, or is all NaN.
      ImportError: matplotlib is not installed.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.heatmap([[0.125, 2.0]], ["fcfs"], [8, 16], row_label="rule",
      ...                       column_label="capacity", label="gap to the bound", is_share=True)
      >>> [text.get_text() for text in ax.texts]
      ['12%', '200%']
    """
    values = np.asarray(values, np.float64)
    if values.shape != (len(rows), len(columns)):
        expectation = f"expected {(len(rows), len(columns))}, one number for each row and column"
        raise wrong_shape("values", values.shape, expectation)
    if np.isnan(values).all():
        raise InputError("values", values, "expected a number", finding="holds nothing but NaN")
    ax = new_axes(len(rows) + _ROWS_FOR_BAR) if ax is None else ax
    low, high = _limits(values)
    image = ax.imshow(values, cmap="cividis", aspect="auto", vmin=low, vmax=high)
    finish(ax, x_label=column_label, y_label=row_label, title=title, rows=rows, columns=columns)
    _write_numbers(ax, image, is_share)
    _draw_color_bar(ax, image, label, is_share)
    return ax


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Least and greatest value that are not far from the others."""
    median = np.nanmedian(values)
    deviation = _DEVIATION * np.nanmedian(np.abs(values - median))
    if deviation == 0:  # most are equal, and nothing says how far is far
        return float(np.nanmin(values)), float(np.nanmax(values))
    near = values[np.abs(values - median) <= _FAR * deviation]
    if np.nanmax(values) - np.nanmin(values) < _FLATTENED * np.ptp(near):
        near = values[~np.isnan(values)]
    return float(near.min()), float(near.max())


def _draw_color_bar(ax: Axes, image: Any, label: str, is_share: bool) -> None:
    """Below the table, where it takes no width from the names at its left."""
    from matplotlib.ticker import MaxNLocator

    values = image.get_array()
    is_below, is_above = values.min() < image.norm.vmin, values.max() > image.norm.vmax
    extend = "neither"
    if is_below or is_above:
        extend = "both" if is_below and is_above else "min" if is_below else "max"
    size, (width, height) = text_size(ax), room(ax)
    bar: Any = ax.figure.colorbar(
        image,
        ax=ax,
        extend=extend,
        ticks=MaxNLocator(nbins=int(np.clip(width / (5 * size), 1, 5))),
        location="bottom",
        fraction=2 * _BAR_SIZE * size / height,  # at most; the aspect decides
        aspect=_BAR_SHARE * width / (_BAR_SIZE * size),
        format=lambda value, _: two_digits(value, is_share),
    )
    bar.set_label(wrapped(label, width, size), fontsize=size)
    bar.ax.tick_params(labelsize=size)


def _write_numbers(ax: Axes, image: Any, is_share: bool) -> None:
    """Write each number as large as its cell allows, black or white, whichever is seen."""
    values = image.get_array().filled(np.nan)
    texts = {
        place: two_digits(value, is_share)
        for place, value in np.ndenumerate(values)
        if not np.isnan(value)
    }
    size = _number_size(ax, values.shape, texts.values())
    if size < _LEAST_SIZE:
        return
    is_dark = image.to_rgba(values)[..., :3] @ _LUMINANCE < 0.5
    for (row, column), text in texts.items():
        color = "white" if is_dark[row, column] else "black"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=size)


def _number_size(ax: Axes, shape: tuple[int, int], texts: Any) -> float:
    size, (width, height) = text_size(ax), room(ax)
    by_width = size * _CELL_SHARE * width / shape[1] / widest(texts, size)
    by_height = _CELL_SHARE * (height - _BAR_SIZES * size) / shape[0]
    return min(size, by_width, by_height)


def two_digits(value: float, is_share: bool) -> str:
    """Write a number, or a share in per cent, with two digits or all of its whole ones."""
    number, unit = (100 * value, "%") if is_share else (value, "")
    digits = 1 - int(np.floor(np.log10(abs(number)))) if number else 0
    return f"{number:,.{max(digits, 0)}f}{unit}"
