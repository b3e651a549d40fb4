"""Tokens held, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import COLOURS, CURVE_ROWS, LIMIT, new_axes, require_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def memory(
    profiles: Mapping[str, Any], *, kv_capacity: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the tokens that schedules hold, round by round.

    Args:
      profiles: of each schedule its :func:`jaxsched.metrics.kv_profile`, ``[T]`` tokens.
      kv_capacity: tokens the cache holds, drawn as a line.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are more schedules than colours.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.memory({"before": [4, 7, 3, 4, 5]}, kv_capacity=8)
      >>> ax.get_ylabel()
      'tokens held'
    """
    require_colours(len(profiles), "profiles")
    ax = new_axes(CURVE_ROWS) if ax is None else ax
    for (name, tokens), colour in zip(profiles.items(), COLOURS, strict=False):
        held = np.trim_zeros(np.asarray(tokens), "b")
        ax.step(np.arange(len(held)), held, where="post", color=colour, linewidth=1, label=name)
    if kv_capacity is not None:
        ax.axhline(kv_capacity, color=LIMIT, linestyle="--", label="capacity")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("round")
    ax.set_ylabel("tokens held")
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
