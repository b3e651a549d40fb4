"""The way of a tuned rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import curve_axes
from jaxsched.show.plots._frame import finish
from jaxsched.show.plots._style import COLORS, TARGET, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ENTRIES = 4  # of the legend


def tuning(
    history: Any,
    *,
    label: str = "mean latency (rounds), lower is better",
    limit: float | None = None,
    limit_label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how a rule got better: its minibatches, its validations and the best of them.

    Args:
      history: of :func:`jaxsched.tune`: ``train`` ``[steps]``, ``step`` and ``validation``
        ``[V]``, ``best`` ``[V]`` and ``best_step``.
      label: what was tuned, with its unit.
      limit: the value of another rule on the held-out instances, drawn as a line.
      limit_label: what that rule is called.
      title: above the picture, such as the workload and the rule.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.

    Example:
      >>> import types
      >>> import jaxsched as js
      >>> history = types.SimpleNamespace(
      ...     train=[9.0, 8.0, 7.5, 7.2], step=[0, 2, 4], validation=[9.1, 8.3, 7.9],
      ...     best=[9.1, 8.3, 7.9], best_step=4)
      >>> ax = js.plots.tuning(history)
      >>> ax.get_legend().get_texts()[-1].get_text()
      'best validation: 7.9 after 4 steps'
    """
    ax = curve_axes(_ENTRIES) if ax is None else ax
    train, step = np.asarray(history.train, np.float64), np.asarray(history.step)
    blue, orange, green = COLORS[:3]
    ax.plot(
        np.arange(train.size),
        train,
        color=blue,
        alpha=0.6,
        linewidth=1,
        marker="." if train.size < 2 else None,
        label="train (minibatches)",
    )
    ax.plot(step, history.validation, color=orange, marker="o", markersize=3, label="validation")
    ax.step(step, history.best, where="post", color=green, linewidth=2)
    best = float(history.best[-1])
    ax.plot(
        history.best_step,
        best,
        color=green,
        linestyle="none",
        marker="*",
        markersize=11,
        label=f"best validation: {written(best)} after {history.best_step} steps",
    )
    if limit is not None:
        label_of_limit = f"{limit_label} {written(limit)}".strip()
        ax.axhline(limit, color=TARGET, linestyle="--", label=label_of_limit)
    ax.margins(y=0.15)
    finish(ax, x_label="steps", y_label=label, title=title)
    return ax
