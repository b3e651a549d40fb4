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
_MOST_LABELS = 6
_ROOM_FOR_LABEL = 1.8  # of its own width or height


def label_log_axis(ax: Axes, which: str) -> None:
    """Make the axis ``"x"`` or ``"y"`` logarithmic, with as many plain numbers as it holds."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    ax.set(**{f"{which}scale": "log"})
    axis: Any = {"x": ax.xaxis, "y": ax.yaxis}[which]
    low, high = axis.get_view_interval()
    size, (width, height) = text_size(ax), room(ax)
    labels = width / text_width(f"{high:,.0f}", size) if which == "x" else height / size
    most = min(_MOST_LABELS, max(2, int(labels / _ROOM_FOR_LABEL)))
    steps = next((each for each in _STEPS if _count(each, low, high) <= most), _STEPS[-1])
    if _count(steps, low, high) < 2 and high < 10 * low:
        axis.set_major_locator(MaxNLocator(most))
    else:
        axis.set_major_locator(LogLocator(subs=steps, numticks=most + 1))
    axis.set_major_formatter("{x:,.10g}")
    axis.set_minor_formatter(NullFormatter())


def _count(steps: tuple[float, ...], low: float, high: float) -> int:
    """Labels within the limits."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    labels = np.multiply.outer(powers, steps)
    return int(np.count_nonzero((labels >= low) & (labels <= high)))
