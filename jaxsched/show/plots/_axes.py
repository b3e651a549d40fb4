"""What the pictures share: axes, colours and how numbers are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of Okabe and Ito's palette, told apart by colour-blind readers and in grey.
BAR, LIMIT = "#56B4E9", "#D55E00"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "black")
MARKERS = ("o", "s", "^", "D", "v")
CURVE_ROWS = 4  # as tall as so many bars


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


def stacked_axes(count: int) -> Any:
    """Make axes one above the other.

    Args:
      count: how many.

    Returns:
      The axes, from the top down, ``[count]``.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return _subplots(count, squeeze=False, figsize=(7.5, 3.3 * count))[:, 0]


def _subplots(*shape: int, **options: Any) -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "jaxsched[plot]"') from error
    return pyplot.subplots(*shape, layout="constrained", **options)[1]


def written(value: float) -> str:
    """Write a number with at most four digits, or all of its whole ones."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def require_colours(count: int, what: str) -> None:
    """Raise if there are more things than can be told apart."""
    if count > len(COLOURS):
        raise ValueError(f"{count} {what}; at most {len(COLOURS)} can be told apart")
