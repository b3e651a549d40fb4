"""Times that a fitted clock predicts beside those that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxsched.servers.calibration.calibration import Calibration
from jaxsched.show.plots._axes import new_axes
from jaxsched.show.plots._frame import finish
from jaxsched.show.plots._log_ticks import label_log_axis
from jaxsched.show.plots._style import COLORS, TARGET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 8  # as tall as so many bars
_MOST_POINTS = 2000
_LEAST_MS = 1e-3


def calibration(found: Calibration, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw predicted against measured times, both logarithmic; a perfect clock is the line.

    Circles are what the fit has seen. Crosses are predicted by the fit without the rows of the
    same shape, and show what times of new shapes are worth. Of many rows some are drawn.

    Args:
      found: what :func:`jaxsched.calibrate.fit_log` or ``fit_bench`` returned.
      title: above the picture.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.

    Example:
      >>> import jaxsched as js
      >>> shapes = [(s, o, b) for s in (100, 400, 1600) for o in (200, 800) for b in (1, 8, 32)]
      >>> s, o, b = zip(*shapes)
      >>> tpot = [6 + 0.02 * (b - 1) * s / o + 4e-5 * b * (s + o / 2) for s, o, b in shapes]
      >>> found = js.calibrate.fit_bench(dict(isl=s, osl=o, concurrency=b, tpot_ms=tpot))
      >>> js.plots.calibration(found).get_xlabel()
      'measured (ms)'
    """
    ax = new_axes(_ROWS) if ax is None else ax
    # Of steps in order of time, so that the longest are among those drawn.
    order = np.argsort(found.measured_ms, kind="stable")
    drawn = order[np.linspace(0, order.size - 1, min(order.size, _MOST_POINTS)).astype(int)]
    measured = found.measured_ms[drawn]
    _points(ax, measured, found.predicted_ms[drawn], "seen by the fit", "o", COLORS[0])
    if found.left_out_ms is not None:
        _points(ax, measured, found.left_out_ms[drawn], "shape left out", "x", COLORS[1])
    ends = [measured.min(), measured.max()]
    ax.plot(ends, ends, "--", color=TARGET, linewidth=1, label="equal")
    label_log_axis(ax, "x")
    label_log_axis(ax, "y")
    finish(ax, x_label="measured (ms)", y_label="predicted (ms)", title=title)
    return ax


def _points(
    ax: Axes, measured: np.ndarray, predicted: np.ndarray, name: str, marker: str, color: str
) -> None:
    ax.plot(
        measured,
        np.maximum(predicted, _LEAST_MS),
        marker,
        color=color,
        label=name,
        fillstyle="none",
        markersize=4,
        markeredgewidth=0.8,
    )
