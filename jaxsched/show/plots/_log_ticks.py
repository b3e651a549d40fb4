"""Plain numbers on logarithmic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.show.plots._frame import room, text_size
from jaxsched.show.plots._text import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Where a power of ten has its labels, from many to few.
_STEPS = (
    tuple(np.arange(10, 100) / 10),
    tuple(np.arange(2, 20) / 2),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
    (1.0,),
)
_ROOM_FOR_LABEL = 1.3  # of its own width or height
_LEAST_LABELS = 2


def label_log_axis(ax: Axes, which: str) -> None:
    """Make the axis ``"x"`` or ``"y"`` logarithmic, with as many plain numbers as it holds."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    ax.set(**{f"{which}scale": "log"})
    axis: Any = {"x": ax.xaxis, "y": ax.yaxis}[which]
    low, high = axis.get_view_interval()
    size, (width, height) = text_size(ax), room(ax)
    length = text_width(f"{high:,.0f}", size) / width if which == "x" else size / height
    steps = next(
        (each for each in _STEPS if _gap(each, low, high) >= _ROOM_FOR_LABEL * length), _STEPS[-1]
    )
    if len(_labels(steps, low, high)) < _LEAST_LABELS:
        nbins = int(np.clip(1 / (2 * length), 1, 6))
        axis.set_major_locator(MaxNLocator(nbins=nbins, steps=(1, 2, 5, 10)))
    else:
        axis.set_major_locator(LogLocator(subs=steps, numticks=len(_labels(steps, low, high)) + 2))
    axis.set_major_formatter("{x:,.10g}")
    axis.set_minor_formatter(NullFormatter())


def label_capacities(ax: Axes, capacities: Any) -> None:
    """Make the horizontal axis logarithmic, with as many of the capacities as it holds."""
    from matplotlib.ticker import FixedLocator, NullLocator

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    length = text_width(f"{max(capacities):,}", text_size(ax)) / room(ax)[0]
    apart = (high / low) ** (_ROOM_FOR_LABEL * length)  # as a ratio
    ticks: list[float] = []
    for capacity in sorted(capacities):
        if not ticks or capacity >= apart * ticks[-1]:
            ticks.append(capacity)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:,.0f}")


def _labels(steps: tuple[float, ...], low: float, high: float) -> np.ndarray:
    """Numbers within the limits, ascending."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    labels = np.multiply.outer(powers, steps).reshape(-1)
    return labels[(labels >= low) & (labels <= high)]


def _gap(steps: tuple[float, ...], low: float, high: float) -> float:
    """Least distance between two labels, as a share of the axis."""
    places = np.log(_labels(steps, low, high)) / np.log(high / low)
    return float(np.diff(places).min(initial=np.inf))
