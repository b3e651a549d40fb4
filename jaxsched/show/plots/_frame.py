"""What stands around a picture: labels, title and legend, without overlaps at any width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxsched.show.plots._text import widest, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.transforms import BboxBase

# Lengths are in points, or in font sizes where the name says so.
NARROW = 5 * 72  # a column of a paper has 3.3 inches
NARROW_SIZE = 0.8  # of the font size that is set
_SIZES = (1.0, 0.9, 0.8, 0.7, 0.6)  # of names, the larger the better
_LINE_SIZES = 1.3  # from line to line
_LEGEND_SIZE = 0.9
_HANDLE_SIZES, _HANDLE_GAP_SIZES, _COLUMN_GAP_SIZES = 1.8, 0.6, 1.0
_NAMES_SHARE = 0.45  # of the width, at most, for names at the left
_SLANT = 30  # degrees
_ROWS_SHARE = 0.65  # of the height, about, for the rows that they name
_MOST_OF_LABEL = 0.6  # of its length, on a line of the vertical label: two lines at most
_LEAST_ROOM_SIZES = 6.0  # below, nothing can be read, and the figure is too small
_PAD = 8  # that a layout leaves at the edges


def text_size(ax: Axes) -> float:
    """Font size in points that suits the width of the axes."""
    from matplotlib import rcParams

    is_narrow = share_of_figure(ax)[0] < NARROW
    return rcParams["font.size"] * (NARROW_SIZE if is_narrow else 1)


def finish(
    ax: Axes,
    *,
    x_label: str,
    y_label: str = "",
    title: str = "",
    rows: Sequence[object] = (),
    columns: Sequence[object] = (),
    legend_title: str | None = None,
) -> None:
    """Write names, labels, title and legend in lines that fit, and leave two spines.

    Args:
      ax: axes on which everything is drawn that the legend names.
      x_label: below the axes.
      y_label: at their left.
      title: above the axes; it has the width of their part of the figure.
      rows: names at the left, at 0, 1 and so on.
      columns: names below, likewise.
      legend_title: above the legend, which stands under everything else.
    """
    size = text_size(ax)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=size)
    if len(rows):
        _set_row_names(ax, rows)
    if len(columns):
        _set_column_names(ax, columns)
    line = _LINE_SIZES * size if y_label else 0.0
    around = ax.get_tightbbox()  # which takes long
    width, (left, right) = room(ax, around)[0] - line, _beside(ax, around)
    center = 0.5
    if ax.figure.get_layout_engine() is not None:
        center += (right - left - line) / 2 / width
    ax.set_xlabel(wrapped(x_label, width, size), fontsize=size)
    _legend_below(ax, center, legend_title)
    ax.set_title(wrapped(title, share_of_figure(ax)[0] - _PAD, size), fontsize=size, x=center)
    height = max(room(ax)[1], _MOST_OF_LABEL * widest([y_label], size))
    ax.set_ylabel(wrapped(y_label, height, size), fontsize=size)


def finish_figure(
    figure: Figure | SubFigure, handles: Sequence[Any], labels: Sequence[str], title: str
) -> None:
    """Write a title above several axes, and below them one legend for all.

    Args:
      figure: laid out by ``layout="constrained"``, or else the legend may stand on axes.
      handles: lines, one for each label.
      labels: their names; empty ones are left out.
      title: above everything.
    """
    from matplotlib import rcParams

    width = figure.bbox.width * 72 / figure.dpi
    size = rcParams["font.size"] * (NARROW_SIZE if width < NARROW else 1)
    if title:
        figure.suptitle(wrapped(title, width - _PAD, size), fontsize=size)
    shown = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
    if shown:
        handles, labels = zip(*shown, strict=True)
        options = _legend_options(labels, width - _PAD, size)
        figure.legend(handles=list(handles), loc="outside lower center", **options)


def _set_row_names(ax: Axes, names: Sequence[object]) -> None:
    """Write names in several lines, or smaller, where they would not fit."""
    width, height = share_of_figure(ax)
    row_height = _ROWS_SHARE * height / len(names)
    for share in _SIZES:
        size = share * text_size(ax)
        texts = [wrapped(str(name), _NAMES_SHARE * width, size) for name in names]
        if max(text.count("\n") + 1 for text in texts) * _LINE_SIZES * size <= row_height:
            break
    ax.set_yticks(range(len(names)), texts, fontsize=size)


def _set_column_names(ax: Axes, names: Sequence[object]) -> None:
    """Write names slanted or upright where they would not fit beside each other."""
    texts, size = [str(name) for name in names], text_size(ax)
    ax.set_xticks(range(len(names)), texts)
    column_width = room(ax)[0] / len(texts)
    if widest(texts, size) + size > column_width:
        is_slanted = size / math.sin(math.radians(_SLANT)) < column_width
        ax.tick_params("x", rotation=_SLANT if is_slanted else 90)
        for label in ax.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")
            label.set(verticalalignment="top" if is_slanted else "center")


def _legend_below(ax: Axes, center: float, title: str | None) -> None:
    """Put the legend under the horizontal axis and its label, in as many columns as fit."""
    from matplotlib.transforms import ScaledTranslation

    handles, labels = _entries(ax)
    if not handles:
        return
    below = ax.xaxis.get_tightbbox()
    depth = 0 if below is None else (ax.bbox.y0 - below.y0) / ax.figure.dpi
    ax.legend(
        handles=handles,
        **_legend_options(labels, share_of_figure(ax)[0] - _PAD, text_size(ax)),
        loc="upper center",
        bbox_to_anchor=(center, 0),
        bbox_transform=ax.transAxes + ScaledTranslation(0, -depth, ax.figure.dpi_scale_trans),
        title=title,
        title_fontsize=_LEGEND_SIZE * text_size(ax),
        borderaxespad=0.5,
    )


def _legend_options(labels: Sequence[str], width: float, text_size: float) -> dict[str, Any]:
    """Lay out a legend of lines in as many columns as fit a width in points."""
    size = _LEGEND_SIZE * text_size
    handle, gap = (_HANDLE_SIZES + _HANDLE_GAP_SIZES) * size, _COLUMN_GAP_SIZES * size
    names = [wrapped(label, width - handle, size) for label in labels]
    most = max(1, int((width + gap) / (handle + widest(names, size) + gap)))
    num_rows = -(-len(names) // most)
    return {
        "labels": names,
        "ncols": -(-len(names) // num_rows),
        "fontsize": size,
        "frameon": False,
        "borderpad": 0,
        "handlelength": _HANDLE_SIZES,
        "handletextpad": _HANDLE_GAP_SIZES,
        "columnspacing": _COLUMN_GAP_SIZES,
    }


def _entries(ax: Axes) -> tuple[list[Any], list[str]]:
    """Collect handles and labels of the axes and of those within them."""
    panels: list[Any] = [ax, *ax.child_axes]  # an inset is Axes, which its type does not say
    entries = [each.get_legend_handles_labels() for each in panels]
    handles, labels = zip(*entries, strict=True)
    return list(itertools.chain(*handles)), list(itertools.chain(*labels))


def room(ax: Axes, around: BboxBase | None = None) -> tuple[float, float]:
    """Width and height in points that axes get, once what stands around them has its place.

    Args:
      ax: the axes.
      around: their tight bounding box; None finds it.
    """
    if ax.figure.get_layout_engine() is None:
        return ax.bbox.width * _points(ax), ax.bbox.height * _points(ax)
    least, (width, height) = _LEAST_ROOM_SIZES * text_size(ax), share_of_figure(ax)
    around = ax.get_tightbbox() if around is None else around
    above_and_below = 0 if around is None else (around.height - ax.bbox.height) * _points(ax)
    width, height = width - sum(_beside(ax, around)) - _PAD, height - above_and_below - _PAD
    return max(width, least), max(height, least)


def _beside(ax: Axes, around: BboxBase | None) -> tuple[float, float]:
    """Points that axes with a tight bounding box take at the left and at the right of it."""
    if around is None:
        return 0.0, 0.0
    left, right = ax.bbox.x0 - around.x0, around.x1 - ax.bbox.x1
    return left * _points(ax), right * _points(ax)


def share_of_figure(ax: Axes) -> tuple[float, float]:
    """Width and height in points of the part of the figure that the axes are laid out in."""
    width, height = ax.figure.bbox.width * _points(ax), ax.figure.bbox.height * _points(ax)
    spec = ax.get_subplotspec()
    if spec is None:
        return width, height
    rows, columns = spec.get_gridspec().get_geometry()
    return width * len(spec.colspan) / columns, height * len(spec.rowspan) / rows


def _points(ax: Axes) -> float:
    """Points in a pixel."""
    return 72 / ax.figure.dpi
