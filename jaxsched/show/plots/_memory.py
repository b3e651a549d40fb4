"""Tokens held, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.metrics import kv_profile
from jaxsched.model.instance import Instance
from jaxsched.show.plots._arguments import Schedules, named, require_one, warn_of_old_form
from jaxsched.show.plots._axes import curve_axes
from jaxsched.show.plots._frame import finish
from jaxsched.show.plots._style import LIMIT, line_style, require_distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def memory(
    inst: Instance | Mapping[str, Any],
    schedules: Schedules | None = None,
    *,
    kv_capacity: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the tokens that schedules of one instance hold, round by round, and its capacity.

    Args:
      inst: one instance, ``[n]``.
      schedules: its schedule or :class:`Outcome` in rounds, or several by name.
      kv_capacity: goes with the old form, ``memory({name: profile}, kv_capacity=..)`` with
        profiles of :func:`jaxsched.metrics.kv_profile`, which is deprecated.
      title: above the picture.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are several instances, or more schedules than can be told apart.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> sched = js.simulate(inst, js.prioritize(inst, "shortest_output"))
      >>> ax = js.plots.memory(inst, {"shortest_output": sched})
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['shortest_output', 'capacity 8']
    """
    if isinstance(inst, Mapping):
        warn_of_old_form("memory(profiles, kv_capacity=..)", "memory(inst, {name: schedule})")
        profiles = inst
    else:
        require_one(inst)
        profiles = {name: kv_profile(inst, sched) for name, sched in named(schedules).items()}
        kv_capacity = float(inst.kv_capacity)
    require_distinct(len(profiles), "profiles")
    ax = curve_axes(len(profiles) + 1) if ax is None else ax
    for number, (name, tokens) in enumerate(profiles.items()):
        held = np.trim_zeros(np.asarray(tokens), "b")
        style: dict[str, Any] = line_style(number) | {"marker": ""}
        ax.step(np.arange(len(held)), held, where="post", linewidth=1, label=name, **style)
    if kv_capacity is not None:
        ax.axhline(kv_capacity, color=LIMIT, linestyle="--", label=f"capacity {kv_capacity:,.0f}")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    finish(ax, x_label="round", y_label="tokens held", title=title)
    return ax
