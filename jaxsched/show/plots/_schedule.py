"""One schedule: when each request runs, over the memory that all of them hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxsched._lib.errors import wrong_shape
from jaxsched.metrics import kv_profile
from jaxsched.metrics.latency import in_rounds
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.schedule import Schedule, require_ok
from jaxsched.show.plots._arguments import require_one
from jaxsched.show.plots._axes import new_axes
from jaxsched.show.plots._frame import finish, share_of_figure, text_size
from jaxsched.show.plots._style import COLORS, LIMIT, require_distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 10  # as tall as so many bars
_SHARE_OF_MEMORY = 0.3  # of the height, at the bottom
_UPPER = 0.64  # of the height, at the top, for bars or counts
_MOST_BARS = 200  # more would be hairlines, and are counted instead
_FEW_REQUESTS = 60  # more are drawn without gaps between their bars
_LEAST_ROWS = 6  # so that one request is a bar and not a wall
_LEAST_HEIGHT = 1.2  # points, of bars that would be too thin to be seen
_LEAST_WIDTH = 0.004  # of a prefill, as a share of the makespan, so that it can be seen
_OUTPUT_TINT = 0.45
_COLUMNS = 200  # of counts; rounds are averaged, as more could not be seen


class _Runs(NamedTuple):
    """What is drawn of the real requests, by start."""

    start: np.ndarray
    end: np.ndarray
    names: np.ndarray
    classes: list[Any]
    makespan: int


def schedule(
    inst: Instance,
    sched: Schedule | Outcome,
    *,
    labels: Sequence[Any] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one schedule, a bar for each request, over the tokens it holds round by round.

    Requests are sorted by start, the first on top. A bar spans the rounds in which the request
    computes: full color for the round that prefills its prompt (drawn at least 0.4% of the
    makespan wide), lighter for the rounds that produce output. More than 200 requests are not
    bars but counts: how many of each class compute, stacked, and the legend says so. The lower
    panel shares the round axis and shows the tokens held, with the capacity as a line.

    Args:
      inst: one instance, ``[n]``.
      sched: its schedule, or its :class:`Outcome` in rounds.
      labels: the class of each request, ``[n]``, which gives it its color; by default short
        or long prompts and outputs, as against the medians. Those of padding are ignored.
      title: above the picture.
      ax: matplotlib axes to draw on; None makes new ones. The lower panel is an inset of them.

    Returns:
      The axes; ``ax.child_axes[0]`` is the lower panel.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are several instances, the instance was not scheduled, or there are as
        many labels as requests but more classes than colors.

    Example:
      >>> import jaxsched as js
      >>> from matplotlib.figure import Figure
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=7)
      >>> sched = js.simulate(inst, js.prioritize(inst, "shortest_output"))
      >>> ax = js.plots.schedule(inst, sched, labels=["a", "b", "a"], ax=Figure().subplots())
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['a', 'b', 'capacity 7']
    """
    require_one(inst)
    if isinstance(sched, Schedule):
        require_ok(sched, "the schedule")
    out = in_rounds(inst, sched)
    names = _classes(inst) if labels is None else _checked_labels(labels, inst)
    real = np.flatnonzero(inst.is_real)
    start, end = out.first_scheduled, out.completion
    order = real[np.lexsort((end[real], start[real]))]
    held = kv_profile(inst, out)
    classes = list(dict.fromkeys(names[order] if labels is not None else sorted(names[real])))
    require_distinct(len(classes), "classes of requests", len(COLORS))
    runs = _Runs(start[order], end[order], names[order], classes, len(held))

    ax = new_axes(_ROWS) if ax is None else ax
    is_counted = len(order) > _MOST_BARS
    ax.set_xlim(0, len(held))
    (_draw_counts if is_counted else _draw_bars)(ax, runs)
    _draw_memory(ax, held, int(inst.kv_capacity))
    finish(
        ax,
        x_label="round",
        y_label="requests\nrunning" if is_counted else "request,\nby start",
        title=title,
        legend_title=f"{len(order):,} requests, counted by class" if is_counted else None,
    )
    ax.yaxis.label.set_y(1 - _UPPER / 2)
    _align_labels(ax.yaxis, ax.child_axes[0].yaxis)
    ax.spines["left"].set_visible(False)
    return ax


def _draw_bars(ax: Axes, runs: _Runs) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    n = len(runs.start)
    height = 0.8 if n <= _FEW_REQUESTS else 1.0
    edge = 0.0 if n <= _FEW_REQUESTS else _LEAST_HEIGHT / 2
    top = np.arange(n) + (1 - height) / 2
    prefill = np.minimum(runs.start + max(1, _LEAST_WIDTH * runs.makespan), runs.end)
    for name, color in zip(runs.classes, COLORS, strict=False):
        chosen = runs.names == name
        tint = 1 - _OUTPUT_TINT * (1 - np.array(to_rgb(color)))
        for left, right, face, label in (
            (runs.start, runs.end, tint, None),
            (runs.start, prefill, color, str(name)),
        ):
            boxes = _boxes(left[chosen], right[chosen], top[chosen], height)
            ax.add_collection(
                PolyCollection(
                    boxes, facecolors=[face], edgecolors=[face], linewidths=edge, label=label
                ),
                autolim=False,
            )
    num_rows = max(n, _LEAST_ROWS)
    above = (num_rows - n) / 2
    _set_upper_limits(ax, num_rows - above, -above)
    ticks = [1, *(tick for tick in _ticks(ax, n) if 1 < tick <= n)]
    ax.set_yticks([tick - 0.5 for tick in ticks], [f"{tick:,}" for tick in ticks])


def _draw_counts(ax: Axes, runs: _Runs) -> None:
    edges = np.linspace(0, runs.makespan, min(runs.makespan, _COLUMNS) + 1)
    counts = []
    for name in runs.classes:
        chosen = runs.names == name
        running = np.zeros(runs.makespan + 1)
        np.add.at(running, runs.start[chosen], 1)
        np.add.at(running, runs.end[chosen], -1)
        done = np.concatenate([[0], np.cumsum(np.cumsum(running))])
        counts.append(np.diff(np.interp(edges, np.arange(done.size), done)) / np.diff(edges))
    tops = np.cumsum(counts, axis=0)
    bottoms = tops - counts
    for name, color, bottom, top in zip(runs.classes, COLORS, bottoms, tops, strict=False):
        ax.stairs(top, edges, baseline=bottom, color=color, fill=True, label=str(name))
    _set_upper_limits(ax, 0, 1.05 * tops.max())
    ticks = [tick for tick in _ticks(ax, tops.max()) if 0 <= tick <= 1.05 * tops.max()]
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])


def _set_upper_limits(ax: Axes, bottom: float, top: float) -> None:
    """Give bars or counts the top of the axes, and leave the bottom to the memory."""
    ax.set_ylim(top + (bottom - top) / _UPPER, top)


def _boxes(left: np.ndarray, right: np.ndarray, top: np.ndarray, height: float) -> Any:
    """Corners of rectangles, ``[n, 4, 2]``."""
    x = np.stack([left, right, right, left], axis=-1)
    y = np.stack([top, top, top + height, top + height], axis=-1)
    return np.stack([x, y], axis=-1)


def _ticks(ax: Axes, most: float) -> list[int]:
    """Choose round numbers from 0, as many as have room one above the other."""
    from matplotlib.ticker import MaxNLocator

    labels = _UPPER * share_of_figure(ax)[1] / (4 * text_size(ax))
    locator = MaxNLocator(nbins=int(np.clip(labels, 1, 5)), integer=True)
    return [int(tick) for tick in locator.tick_values(0, most)]


def _draw_memory(ax: Axes, held: np.ndarray, kv_capacity: int) -> None:
    from matplotlib.ticker import MaxNLocator

    below = ax.inset_axes((0, 0, 1, _SHARE_OF_MEMORY), sharex=ax)
    size = text_size(ax)
    rounds = np.arange(len(held) + 1)
    below.fill_between(rounds, np.append(held, held[-1]), step="post", color="0.75", linewidth=0)
    below.axhline(kv_capacity, color=LIMIT, linestyle="--", label=f"capacity {kv_capacity:,}")
    below.set_ylim(0, 1.1 * kv_capacity)
    below.set_ylabel("tokens\nheld", fontsize=size)
    below.yaxis.set_major_locator(MaxNLocator(nbins=2))
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.xaxis.set_major_locator(MaxNLocator(nbins="auto", steps=(1, 2, 5, 10), integer=True))
    below.xaxis.set_major_formatter("{x:,.0f}")
    below.tick_params(labelbottom=False, bottom=False, labelsize=size)
    below.spines[["top", "right"]].set_visible(False)


def _align_labels(upper: Any, lower: Any) -> None:
    """Put two vertical labels in one column, left of the wider numbers."""
    left = [axis.get_tightbbox().x0 for axis in (upper, lower)]
    for axis, own in zip((upper, lower), left, strict=True):
        axis.labelpad += (own - min(left)) * 72 / axis.axes.figure.dpi


def _classes(inst: Instance) -> np.ndarray:
    """Short or long prompts and outputs: longer than the median of the real ones or not."""
    real = np.asarray(inst.is_real)

    def is_long(tokens: Any) -> np.ndarray:
        tokens = np.asarray(tokens)
        return tokens > np.median(tokens[real])

    prompt, output = is_long(inst.prompt_tokens), is_long(inst.output_tokens)
    length = np.array(["short", "long"])
    names = np.char.add(length[prompt.astype(int)], " prompt, ")
    return np.char.add(names, np.char.add(length[output.astype(int)], " output"))


def _checked_labels(labels: Sequence[Any], inst: Instance) -> np.ndarray:
    names = np.asarray(labels)
    if names.shape != np.shape(inst.is_real):
        expectation = f"expected one for each request, {np.shape(inst.is_real)}"
        raise wrong_shape("labels", names.shape, expectation)
    return names
