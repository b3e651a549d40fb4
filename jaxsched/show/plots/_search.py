"""The way of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import CURVE_ROWS, new_axes
from jaxsched.show.plots._frame import finish, text_size
from jaxsched.show.plots._style import COLORS, LIMIT, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def search(
    steps: Any,
    latency: Any,
    *,
    bound: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how the best latency fell in the course of a search, above what no order can reach.

    Args:
      steps: steps each chain had taken, ``[H]``, ascending.
      latency: the least mean latency by then in rounds, ``[H]``.
      bound: lower bound on mean latency in rounds, drawn as a line.
      title: above the picture, such as the workload and the rule to start from.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.search([0, 100, 200], [30.0, 26.0, 22.0], bound=20.0)
      >>> ax.texts[-1].get_text()
      'bound 20, gap 10.0%'
    """
    ax = new_axes(CURVE_ROWS) if ax is None else ax
    latency = np.asarray(latency, np.float64)
    size = text_size(ax)
    ax.step(steps, latency, where="post", color=COLORS[0])
    # Nothing is drawn to the right of the last step, nor below a bound.
    ax.annotate(
        written(latency[-1]),
        (steps[-1], latency[-1]),
        xytext=(4, 0),
        textcoords="offset points",
        verticalalignment="center",
        color=COLORS[0],
        fontsize=size,
    )
    if bound is not None:
        ax.axhline(bound, color=LIMIT, linestyle="--")
        ax.annotate(
            f"bound {written(bound)}, gap {latency[-1] / bound - 1:.1%}",
            (0, bound),
            xycoords=("axes fraction", "data"),
            xytext=(3, -3),
            textcoords="offset points",
            verticalalignment="top",
            color=LIMIT,
            fontsize=size,
        )
    ax.margins(x=0, y=0.2)
    finish(
        ax,
        x_label="steps of each chain",
        y_label="mean latency (rounds), lower is better",
        title=title,
    )
    return ax
