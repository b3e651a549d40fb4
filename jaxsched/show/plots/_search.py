"""The way of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import COLOURS, CURVE_ROWS, LIMIT, new_axes, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def search(
    steps: Any,
    latency: Any,
    *,
    bound: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how the best latency fell in the course of a search, above what no order can reach.

    Args:
      steps: steps each chain had taken, ``[H]``, ascending.
      latency: the least mean latency by then in rounds, ``[H]``.
      bound: lower bound on mean latency in rounds, drawn as a line.
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
    ax.step(steps, latency, where="post", color=COLOURS[0])
    ax.annotate(
        written(latency[-1]),
        (steps[-1], latency[-1]),
        xytext=(0, 5),
        textcoords="offset points",
        horizontalalignment="right",
    )
    if bound is not None:
        ax.axhline(bound, color=LIMIT, linestyle="--")
        ax.annotate(
            f"bound {written(bound)}, gap {latency[-1] / bound - 1:.1%}",
            (0, bound),
            xytext=(3, 3),
            textcoords="offset points",
            color=LIMIT,
        )
    ax.margins(y=0.12)
    ax.set_xlabel("steps of each chain")
    ax.set_ylabel("mean latency (rounds)")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
