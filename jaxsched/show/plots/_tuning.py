"""The way of a tuned rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._axes import COLOURS, CURVE_ROWS, LIMIT, new_axes, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tuning(
    history: Any,
    *,
    label: str = "mean latency (rounds)",
    limit: float | None = None,
    limit_label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how a rule got better: its minibatches, its validations and the best of them.

    Args:
      history: of :func:`jaxsched.tune`: ``train`` ``[steps]``, ``step`` and ``validation``
        ``[V]``, ``best`` ``[V]`` and ``best_step``.
      label: what was tuned, with its unit.
      limit: the value of another rule on the held-out instances, drawn as a line.
      limit_label: what that rule is called.
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
      >>> js.plots.tuning(history).get_ylabel()
      'mean latency (rounds)'
    """
    ax = new_axes(CURVE_ROWS) if ax is None else ax
    train, step = np.asarray(history.train, np.float64), np.asarray(history.step)
    blue, orange, green = COLOURS[:3]
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
    ax.step(step, history.best, where="post", color=green, linewidth=2, label="best validation")
    best = float(history.best[-1])
    ax.plot(history.best_step, best, color=green, marker="*", markersize=11)
    ax.annotate(
        written(best),
        (history.best_step, best),
        xytext=(0, -8),
        textcoords="offset points",
        horizontalalignment="center",
        verticalalignment="top",
        color=green,
    )
    if limit is not None:
        ax.axhline(limit, color=LIMIT, linestyle="--", label=f"{limit_label} {written(limit)}")
    ax.margins(y=0.15)
    ax.set_xlabel("steps")
    ax.set_ylabel(label)
    ax.legend(loc="upper right", fontsize="small", framealpha=0.9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
