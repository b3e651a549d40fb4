"""Arrivals over time, and how lengths are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxsched.metrics.traffic import Traffic
from jaxsched.metrics.traffic import traffic as measured
from jaxsched.model.requests import Requests
from jaxsched.show.plots._axes import panels
from jaxsched.show.plots._frame import finish, finish_figure
from jaxsched.show.plots._log_ticks import label_log_axis
from jaxsched.show.plots._style import BAR, COLORS, TARGET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 5.0
_UNITS = ((2 * 86400, 86400, "days"), (2 * 3600, 3600, "hours"), (300, 60, "minutes"))
_MOST_POINTS = 400  # of a line of shares; more cannot be seen


def traffic(reqs: Requests, *, title: str = "", figure: Figure | None = None) -> dict[str, Axes]:
    """Draw requests a second over time, and the shares of requests by prompt and output length.

    Bins of time are those of :func:`jaxsched.metrics.traffic`. The dashed line is the mean rate.

    Args:
      reqs: the requests of one stream, ``[n]``, which arrive over time.
      title: above the picture, such as the name of the trace.
      figure: a matplotlib figure, best with ``layout="constrained"``; None makes one.

    Returns:
      The axes by name: ``"rate"`` and ``"tokens"``.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are several streams, or the arrivals span no time.

    Example:
      >>> import jaxsched as js
      >>> from matplotlib.figure import Figure
      >>> reqs = js.Requests.from_arrays([0.0, 0.5, 1.0, 4.0], [300, 20, 50, 70], [40, 10, 20, 30])
      >>> axes = js.plots.traffic(reqs, figure=Figure(layout="constrained"))
      >>> axes["rate"].get_xlabel()
      'time (s)'
    """
    found = measured(reqs)
    axes = panels([["rate"], ["tokens"]], figure, _HEIGHT)
    _draw_rates(axes["rate"], found)
    _draw_lengths(axes["tokens"], reqs)
    finish_figure(axes["rate"].figure, [], [], title)
    return axes


def _draw_rates(ax: Axes, found: Traffic) -> None:
    span_s = found.edges_s[-1]
    unit_s, unit = next(((size, name) for least, size, name in _UNITS if span_s >= least), (1, "s"))
    edges = found.edges_s / unit_s
    ax.stairs(found.rates, edges, fill=True, color=BAR, alpha=0.6)
    ax.axhline(found.rate, color=TARGET, linestyle="--", linewidth=1)
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(bottom=0)
    finish(ax, x_label=f"time ({unit})", y_label="requests/s")


def _draw_lengths(ax: Axes, reqs: Requests) -> None:
    is_real = np.asarray(reqs.is_real)
    for place, name in enumerate(("prompt", "output")):
        tokens = np.sort(np.asarray(getattr(reqs, f"{name}_tokens"))[is_real])
        shares = np.linspace(0, 1, min(tokens.size, _MOST_POINTS))
        at = np.quantile(tokens, shares)
        ax.plot(at, shares, label=f"{name} tokens", color=COLORS[place])
    label_log_axis(ax, "x")
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    finish(ax, x_label="tokens", y_label="share of requests")
