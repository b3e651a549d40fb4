"""Latency against memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import curve_axes
from jaxsched.show.plots._frame import finish
from jaxsched.show.plots._log_ticks import label_log_axis
from jaxsched.show.plots._style import LIMIT, TARGET, line_style, require_distinct, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 7  # as tall as so many bars
_WIDE = 8  # a wider span of values is drawn on a logarithmic axis


def capacity(
    curves: Mapping[str, Any],
    *,
    target: float,
    needed: Mapping[str, Any],
    label: str,
    capacity_label: str = "KV capacity (tokens)",
    bound: Any = None,
    bound_label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric against capacity for several rules, and what each needs for a target.

    Capacities are on a logarithmic axis, and so are values that span more than a factor of 8.

    Args:
      curves: of each rule ``at``, ``mean``, ``low`` and ``high``, ``[K]`` each, as in
        :class:`jaxsched.CapacityPlan`; ``at`` may be names.
      target: what the metric should not exceed, drawn as a line.
      needed: of each rule the least capacity that meets it, marked on the line of its means.
      label: what the metric is, with its unit.
      capacity_label: what capacities are counted in.
      bound: a curve that no rule can be below.
      bound_label: what it is called.
      title: above the picture, such as the workload and the server.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are more rules than can be told apart.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([5, 1, 1], [4, 2, 2], kv_capacity=9)
      >>> plan = js.plan_capacity(inst, "fcfs", ("mean", 3.5))
      >>> ax = js.plots.capacity(plan.curve, target=3.5, needed=plan.capacity, label="rounds")
      >>> ax.get_ylabel()
      'rounds'
    """
    require_distinct(len(curves), "rules")
    ax = curve_axes(len(curves) + 2, _ROWS) if ax is None else ax
    at = next(iter(curves.values())).at
    is_named = at.dtype.kind == "U"
    for number, (name, curve) in enumerate(curves.items()):
        style = line_style(number)
        place = np.arange(len(curve.at)) if is_named else curve.at
        met = list(curve.at).index(needed[name])
        told = needed[name] if is_named else f"{needed[name]:,}"
        ax.plot(
            place,
            curve.mean,
            markersize=8,
            markevery=[met] if len(curve.at) > 1 else None,
            label=f"{name}, needs {told}",
            **style,
        )
        ax.fill_between(place, curve.low, curve.high, color=style["color"], alpha=0.15, linewidth=0)
    if bound is not None:
        ax.plot(bound.at, bound.mean, color=LIMIT, linestyle=":", label=bound_label)
    ax.axhline(target, color=TARGET, linestyle="--", label=f"target {written(target)}")
    means = np.concatenate([curve.mean for curve in curves.values()])
    highest, lowest = max(np.nanmax(means), target), min(np.nanmin(means), target)
    if highest > _WIDE * lowest:
        label_log_axis(ax, "y")
    else:
        ax.set_ylim(0, 1.1 * highest)
    if not is_named:
        label_log_axis(ax, "x")
    finish(
        ax,
        x_label=capacity_label,
        y_label=label,
        title=title,
        columns=at.tolist() if is_named else (),
    )
    return ax
