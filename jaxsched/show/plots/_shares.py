"""The share of requests up to each value: an empirical distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.show.plots._style import line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_MARKER_EVERY = 0.25  # of the length of the picture's diagonal


def draw_shares(
    ax: Axes,
    latencies: Mapping[str, Any],
    argument: str,
    num_requests: Mapping[str, int] | None = None,
) -> list[Line2D]:
    """Draw a line of shares for each name, from 0 on.

    Args:
      ax: the axes.
      latencies: of each name, numbers of any shape; NaN is left out.
      argument: what they come from, for messages.
      num_requests: of each name, how many are a share of 1; None for all the numbers.

    Returns:
      The lines.

    Raises:
      ValueError: a name has no numbers.
    """
    lines = []
    for number, (name, values) in enumerate(latencies.items()):
        ordered = np.sort(np.asarray(values, np.float64), axis=None)
        ordered = ordered[~np.isnan(ordered)]
        if not ordered.size:
            finding = f"has no latency to draw for {name!r}"
            raise InputError(argument, name, "expected at least one request", finding=finding)
        most = ordered.size if num_requests is None else num_requests[name]
        lines += ax.step(
            np.concatenate([[0.0], ordered]),
            np.arange(ordered.size + 1) / most,
            where="post",
            markevery=(0.05 * number % _MARKER_EVERY, _MARKER_EVERY),
            markersize=5,
            label=name,
            **line_style(number),
        )
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.02)
    return lines
