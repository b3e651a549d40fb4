"""Pictures, drawn with matplotlib on axes that the caller may supply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched._intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of Okabe and Ito's palette, told apart by colour-blind readers and in grey.
_BAR, _LIMIT = "#56B4E9", "#D55E00"
_LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "black")
_ROWS_OF_A_CURVE = 4  # as tall as so many bars


def mean_bars(
    estimates: Mapping[str, Estimate],
    *,
    label: str,
    title: str = "",
    limit: float | None = None,
    limit_label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one bar for each mean, with its interval where there is one.

    Args:
      estimates: the mean and interval of each name, drawn from the top down.
      label: what the bars measure, with its unit.
      title: above the picture.
      limit: a value that no bar can fall below, drawn as a line.
      limit_label: what the limit is called.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.mean_bars({"fcfs": (30.0, 26.0, 33.0)}, label="mean latency (rounds)")
      >>> ax.get_xlabel()
      'mean latency (rounds)'
    """
    ax = new_axes(len(estimates)) if ax is None else ax
    mean, low, high = np.array(list(estimates.values()), np.float64).T
    place = np.arange(len(mean))
    ax.barh(place, mean, color=_BAR, height=0.7)
    has_interval = np.isfinite(high)
    ax.errorbar(
        mean[has_interval],
        place[has_interval],
        xerr=[(mean - low)[has_interval], (high - mean)[has_interval]],
        fmt="none",
        ecolor="black",
        capsize=3,
        linewidth=1.2,
    )
    for row in place:
        end = high[row] if has_interval[row] else mean[row]
        ax.annotate(
            _written(mean[row]),
            (end, row),
            xytext=(5, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    if limit is not None:
        ax.axvline(limit, color=_LIMIT, linestyle="--")
        ax.annotate(
            f"{limit_label} {_written(limit)}",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            horizontalalignment="center",
            color=_LIMIT,
        )
    ax.set_yticks(place, list(estimates))
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * np.nanmax(np.where(has_interval, high, mean)))
    ax.set_xlabel(label)
    ax.set_title(title, fontsize="medium", pad=6 if limit is None else 20)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def search(
    steps: Any,
    latency: Any,
    *,
    bound: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how the best latency fell in the course of a search, above what no order can reach.

    Args:
      steps: steps each chain had taken, ``[H]``, ascending.
      latency: the least mean latency by then in rounds, ``[H]``.
      bound: lower bound on mean latency in rounds, drawn as a line.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.search([0, 100, 200], [30.0, 26.0, 22.0], bound=20.0)
      >>> ax.texts[-1].get_text()
      'bound 20, gap 10.0%'
    """
    ax = new_axes(_ROWS_OF_A_CURVE) if ax is None else ax
    latency = np.asarray(latency, np.float64)
    ax.step(steps, latency, where="post", color=_LINES[0])
    ax.annotate(
        _written(latency[-1]),
        (steps[-1], latency[-1]),
        xytext=(0, 5),
        textcoords="offset points",
        horizontalalignment="right",
    )
    if bound is not None:
        ax.axhline(bound, color=_LIMIT, linestyle="--")
        ax.annotate(
            f"bound {_written(bound)}, gap {latency[-1] / bound - 1:.1%}",
            (0, bound),
            xytext=(3, 3),
            textcoords="offset points",
            color=_LIMIT,
        )
    ax.margins(y=0.12)
    ax.set_xlabel("steps of each chain")
    ax.set_ylabel("mean latency (rounds)")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def memory(
    profiles: Mapping[str, Any], *, kv_capacity: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the tokens that schedules hold, round by round.

    Args:
      profiles: of each schedule its :func:`jaxsched.metrics.kv_profile`, ``[T]`` tokens.
      kv_capacity: tokens the cache holds, drawn as a line.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are more schedules than colours.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.memory({"before": [4, 7, 3, 4, 5]}, kv_capacity=8)
      >>> ax.get_ylabel()
      'tokens held'
    """
    if len(profiles) > len(_LINES):
        raise ValueError(f"{len(profiles)} profiles; at most {len(_LINES)} can be told apart")
    ax = new_axes(_ROWS_OF_A_CURVE) if ax is None else ax
    for (name, tokens), colour in zip(profiles.items(), _LINES, strict=False):
        held = np.trim_zeros(np.asarray(tokens), "b")
        ax.step(np.arange(len(held)), held, where="post", color=colour, linewidth=1, label=name)
    if kv_capacity is not None:
        ax.axhline(kv_capacity, color=_LIMIT, linestyle="--", label="capacity")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("round")
    ax.set_ylabel("tokens held")
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def heatmap(
    values: np.ndarray,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    row_label: str,
    column_label: str,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of numbers as colours, each with its number written on it.

    Args:
      values: float ``[R, C]``.
      rows: what the R rows are, from the top down.
      columns: what the C columns are.
      row_label: what rows differ in.
      column_label: what columns differ in.
      title: what the numbers are, with their unit.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ValueError: the shape of ``values`` is not that of the rows and columns.
      ImportError: matplotlib is not installed.

    Example:
      >>> import jaxsched as js
      >>> ax = js.plots.heatmap([[0.1, 0.2]], ["fcfs"], [8, 16], row_label="rule",
      ...                       column_label="capacity")
      >>> [text.get_text() for text in ax.texts]
      ['0.1', '0.2']
    """
    values = np.asarray(values, np.float64)
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values has shape {values.shape}; expected {(len(rows), len(columns))}, one number "
            "for each row and column"
        )
    ax = new_axes(len(rows)) if ax is None else ax
    ax.imshow(values, cmap="cividis", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2  # darker below
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value <= middle else "black"
        ax.text(column, row, _written(value), ha="center", va="center", color=color)
    ax.set_xticks(range(len(columns)), [str(column) for column in columns])
    ax.set_yticks(range(len(rows)), [str(row) for row in rows])
    ax.set_xlabel(column_label)
    ax.set_ylabel(row_label)
    ax.set_title(title, fontsize="medium")
    return ax


def new_axes(num_rows: int) -> Axes:
    """Make axes as tall as ``num_rows`` bars need.

    Args:
      num_rows: the number of bars.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return _subplots(figsize=(7.5, 1.5 + 0.45 * num_rows))


def stacked_axes(count: int) -> Any:
    """Make axes one above the other.

    Args:
      count: how many.

    Returns:
      The axes, from the top down, ``[count]``.

    Raises:
      ImportError: matplotlib is not installed.
    """
    return _subplots(count, squeeze=False, figsize=(7.5, 3.3 * count))[:, 0]


def _subplots(*shape: int, **options: Any) -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "jaxsched[plot]"') from error
    return pyplot.subplots(*shape, layout="constrained", **options)[1]


def _written(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
