"""What rules lose as memory grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import COLOURS, CURVE_ROWS, MARKERS, new_axes, require_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ratio(
    capacities: Any,
    ratios: Mapping[str, Any],
    *,
    label: str = "TEL / optimum",
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
      ValueError: there are more rules than colours.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.ratio([64, 256], {"fcfs": [2.1, 4.0], "sorted_f": [1.0, 1.0]})
      >>> ax.get_xscale(), ax.get_yscale()
      ('log', 'log')
    """
    require_colours(len(ratios), "rules")
    ax = new_axes(CURVE_ROWS) if ax is None else ax
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    styles = zip(ratios.items(), COLOURS, MARKERS, strict=False)
    for number, ((name, values), colour, marker) in enumerate(styles):
        # Later markers are smaller, so that lines that coincide are both seen.
        style = {"marker": marker, "markersize": 9 - 1.5 * number, "fillstyle": "none"}
        ax.plot(capacities, values, color=colour, label=name, **style)
    _label_ratios(ax)
    ax.set_xlabel("KV capacity (tokens)")
    ax.set_ylabel(label)
    ax.set_title(title, fontsize="medium")
    ax.legend(loc="upper left", fontsize="small", framealpha=0.9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _label_ratios(ax: Axes) -> None:
    """Write ratios as plain numbers, also where they span less than a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_ylim()
    subs = (1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)
    if high / low < 2:
        subs = tuple(np.arange(1, 10, 0.5 if high / low > 1.3 else 0.1))
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
