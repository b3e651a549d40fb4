"""Pictures for a page, drawn once for wide screens and once for narrow ones."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxsched.show.page._page import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE, _NARROW = 7.5, 3.8  # inches of 96 pixels: as wide as the text, and as a phone
_STYLE = {"svg.hashsalt": "jaxsched", "svg.fonttype": "path"}  # the same bytes on every machine


def picture(
    draw: Callable[[Figure], object], alt: str, *, height: float, narrow_height: float
) -> Picture:
    """Draw a picture in two widths.

    Args:
      draw: draws on a figure of any width.
      alt: what it shows, in words.
      height: inches of the wide one.
      narrow_height: inches of the narrow one.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return Picture(_svg(draw, _WIDE, height), _svg(draw, _NARROW, narrow_height), alt)


def _svg(draw: Callable[[Figure], object], width: float, height: float) -> bytes:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a page needs matplotlib: pip install "jaxsched[plot]"') from error
    style: Any = _STYLE
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
