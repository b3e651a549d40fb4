"""What rules lose as memory grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxsched.show.plots._axes import curve_axes
from jaxsched.show.plots._frame import finish
from jaxsched.show.plots._log_ticks import label_capacities, label_log_axis
from jaxsched.show.plots._style import line_style, require_distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST, _SMALLEST = 9, 3  # points


def ratio(
    capacities: Any,
    ratios: Mapping[str, Any],
    *,
    label: str = "TEL / optimum, lower is better",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw ratios of cost against KV capacity, both logarithmic, so that powers are lines.

    Args:
      capacities: KV capacity in tokens, ``[K]``.
      ratios: of each rule its cost over that of a better one, ``[K]``, above 0.
      label: what the ratios are.
      title: above the picture.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are more rules than can be told apart.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.ratio([64, 256], {"fcfs": [2.1, 4.0], "sorted_f": [1.0, 1.0]})
      >>> ax.get_xscale(), ax.get_yscale()
      ('log', 'log')
    """
    require_distinct(len(ratios), "rules")
    ax = curve_axes(len(ratios)) if ax is None else ax
    for number, (name, values) in enumerate(ratios.items()):
        # Later markers are smaller, so that lines that coincide are all seen.
        size = max(_LARGEST - 1.5 * number, _SMALLEST)
        ax.plot(
            capacities, values, label=name, markersize=size, fillstyle="none", **line_style(number)
        )
    label_log_axis(ax, "y")
    label_capacities(ax, capacities)
    finish(ax, x_label="KV capacity (tokens)", y_label=label, title=title)
    return ax
