"""How latencies are spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import COLOURS, CURVE_ROWS, new_axes, require_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1.5, 1.5)), "-")


def latency_cdf(
    latencies: Mapping[str, Any], *, unit: str = "rounds", ax: Axes | None = None
) -> Axes:
    """Draw the share of requests that have completed, by time, for several rules.

    Args:
      latencies: of each rule its :func:`jaxsched.metrics.latency`, of any shape; NaN is padding.
        The requests of all instances count alike.
      unit: what the latencies are in.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are more rules than colours, or a rule has no latency.

    Example:
      >>> import jaxsched as js
      >>> from matplotlib.figure import Figure
      >>> inst = js.Instance.from_lengths([7, 1, 1], [1, 2, 2], kv_capacity=8)
      >>> latencies = {
      ...     rule: js.metrics.latency(inst, js.simulate(inst, js.prioritize(inst, rule)))
      ...     for rule in ("fcfs", "smallest_volume")
      ... }
      >>> ax = js.plots.latency_cdf(latencies, ax=Figure().subplots())
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['fcfs', 'smallest_volume']
    """
    require_colours(len(latencies), "rules")
    ax = new_axes(CURVE_ROWS) if ax is None else ax
    for (name, latency), colour, dashes in zip(latencies.items(), COLOURS, _DASHES, strict=False):
        values = np.sort(np.asarray(latency, np.float64), axis=None)
        values = values[~np.isnan(values)]
        if not values.size:
            raise ValueError(f"{name!r} has no latency to draw; expected at least one request")
        share = np.arange(values.size + 1) / values.size
        ax.step(
            np.concatenate([[0.0], values]),
            share,
            where="post",
            color=colour,
            linestyle=dashes,
            label=name,
        )
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(f"latency ({unit})")
    ax.set_ylabel("share of requests completed")
    ax.legend(loc="lower right", fontsize="small", framealpha=0.9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
