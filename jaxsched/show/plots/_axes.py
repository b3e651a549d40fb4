"""Axes of a size that suits what is drawn on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_ROWS = 4  # curves are as tall as so many bars
_NAMES_IN_A_ROW = 3  # of the legend


def new_axes(num_rows: int) -> Axes:
    """Make axes as tall as ``num_rows`` bars need.

    Args:
      num_rows: the number of bars.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return _subplots(figsize=(7.5, 1.5 + 0.45 * num_rows))


def curve_axes(num_names: int, num_rows: int = CURVE_ROWS) -> Axes:
    """Make axes for curves, over a legend of so many names."""
    return new_axes(num_rows + -(-num_names // _NAMES_IN_A_ROW))


def stacked_axes(count: int) -> Any:
    """Make axes one above the other.

    Args:
      count: how many.

    Returns:
      The axes, from the top down, ``[count]``.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return _subplots(count, squeeze=False, figsize=(7.5, 3.5 * count))[:, 0]


def panels(
    layout: list[list[str]], figure: Any = None, height: float | None = None
) -> dict[str, Axes]:
    """Make axes by name, as ``Figure.subplot_mosaic`` lays them out, on a new figure if None."""
    if figure is None:
        height = 1 + 1.6 * len(layout) if height is None else height
        figure = _pyplot().figure(layout="constrained", figsize=(7.5, height))
    return figure.subplot_mosaic(layout)


def _subplots(*shape: int, **options: Any) -> Any:
    return _pyplot().subplots(*shape, layout="constrained", **options)[1]


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "jaxsched[plot]"') from error
    return pyplot
