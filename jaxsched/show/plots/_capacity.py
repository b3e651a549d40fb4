"""Latency against memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import (
    COLOURS,
    CURVE_ROWS,
    LIMIT,
    MARKERS,
    new_axes,
    require_colours,
    written,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are more rules than colours.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([5, 1, 1], [4, 2, 2], kv_capacity=9)
      >>> plan = js.plan_capacity(inst, "fcfs", ("mean", 3.5))
      >>> ax = js.plots.capacity(plan.curve, target=3.5, needed=plan.capacity, label="rounds")
      >>> ax.get_ylabel()
      'rounds'
    """
    require_colours(len(curves), "rules")
    ax = new_axes(2 * CURVE_ROWS) if ax is None else ax
    is_named = next(iter(curves.values())).at.dtype.kind == "U"
    for (name, curve), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
        place = np.arange(len(curve.at)) if is_named else curve.at
        met = list(curve.at).index(needed[name])
        told = needed[name] if is_named else f"{needed[name]:,}"
        ax.plot(
            place,
            curve.mean,
            color=colour,
            marker=marker,
            markersize=8,
            markevery=[met] if len(curve.at) > 1 else None,
            label=f"{name}, needs {told}",
        )
        ax.fill_between(place, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        if is_named:
            ax.set_xticks(place, curve.at, rotation=20, horizontalalignment="right")
    if bound is not None:
        ax.plot(bound.at, bound.mean, color=LIMIT, linestyle=":", label=bound_label)
    ax.axhline(target, color=LIMIT, linestyle="--", label=f"target {written(target)}")
    means = np.concatenate([curve.mean for curve in curves.values()])
    highest, lowest = max(np.nanmax(means), target), min(np.nanmin(means), target)
    if highest > _WIDE * lowest:
        ax.set_yscale("log")
        _write_whole_numbers(ax.yaxis, highest / lowest)
    else:
        ax.set_ylim(0, 1.25 * highest)
    if not is_named:
        ax.set_xscale("log")
        low, high = ax.get_xlim()
        _write_whole_numbers(ax.xaxis, high / low)
    ax.set_xlabel(capacity_label)
    ax.set_ylabel(label)
    ax.legend(loc="upper right", fontsize="small", framealpha=0.9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _write_whole_numbers(axis: Any, span: float) -> None:
    """Label a logarithmic axis with numbers, few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0,) if span > 1000 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
