"""Axes of a size that suits what is drawn on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from jaxsched._lib.errors import InputError
from jaxsched.show.plots._frame import NARROW, NARROW_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_ROWS = 4  # curves are as tall as so many bars
_NAME_INCHES = 2.5  # that a name in the legend may take
_LEAST_WIDTH = 2.0

_width = ContextVar("width", default=7.5)


@contextmanager
def figure_width(inches: float) -> Iterator[None]:
    """Make new figures so wide: 3.4 inches for a column of a paper, 7.5 without this.

    It counts for every picture that makes its own figure, also those that comparisons, plans and
    sweeps draw of themselves. Text, legends and heights follow the width.

    Args:
      inches: the width, at least 2.

    Returns:
      A context manager; outside its block figures are as wide as before.

    Raises:
      ValueError: it is less.

    Example:
      >>> import jaxsched as js
      >>> with js.plots.figure_width(3.4):
      ...     ax = js.plots.mean_bars({"fcfs": (30.0, 26.0, 33.0)}, label="mean latency (rounds)")
      >>> float(ax.figure.get_size_inches()[0])
      3.4
    """
    if not inches >= _LEAST_WIDTH:
        raise InputError("inches", inches, f"expected a width of at least {_LEAST_WIDTH:g} inches")
    token = _width.set(inches)
    try:
        yield
    finally:
        _width.reset(token)


def new_axes(num_rows: int) -> Axes:
    """Make axes as tall as ``num_rows`` bars need.

    Args:
      num_rows: the number of bars.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return _subplots(figsize=_size(1.5 + 0.45 * num_rows))


def curve_axes(num_names: int, num_rows: int = CURVE_ROWS) -> Axes:
    """Make axes for curves, over a legend of so many names."""
    return new_axes(num_rows + -(-num_names // names_in_a_row()))


def names_in_a_row() -> int:
    """Names that about fit beside each other in the legend of a new figure."""
    return math.ceil(_width.get() / _NAME_INCHES)


def stacked_axes(count: int) -> Any:
    """Make axes one above the other.

    Args:
      count: how many.

    Returns:
      The axes, from the top down, ``[count]``.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return _subplots(count, squeeze=False, figsize=_size(3.5 * count))[:, 0]


def panels(
    layout: list[list[str]], figure: Any = None, height: float | None = None
) -> dict[str, Axes]:
    """Make axes by name, as ``Figure.subplot_mosaic`` lays them out, on a new figure if None."""
    if figure is None:
        height = 1 + 1.6 * len(layout) if height is None else height
        figure = _pyplot().figure(layout="constrained", figsize=_size(height))
    return figure.subplot_mosaic(layout)


def _size(height: float) -> tuple[float, float]:
    """Width and height in inches; less high where the text is smaller, too."""
    width = _width.get()
    return width, height * (NARROW_SIZE if width * 72 < NARROW else 1)


def _subplots(*shape: int, **options: Any) -> Any:
    return _pyplot().subplots(*shape, layout="constrained", **options)[1]


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "jaxsched[plot]"') from error
    return pyplot
