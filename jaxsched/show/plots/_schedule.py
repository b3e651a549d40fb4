"""One schedule: when each request runs, over the memory that all of them hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.metrics import kv_profile
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule, require_ok
from jaxsched.show.plots._axes import COLOURS, LIMIT, new_axes, require_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 10  # as tall as so many bars
_SHARE_OF_MEMORY = 0.3  # of the height, at the bottom
_GAP = 0.06
_FEW_REQUESTS = 60  # more are drawn without gaps between their bars
_LEAST_ROWS = 6  # so that one request is a bar and not a wall
_LEAST_HEIGHT = 1.2  # points, of bars that would be too thin to be seen
_LEAST_WIDTH = 0.004  # of a prefill, as a share of the makespan, so that it can be seen
_OUTPUT_TINT = 0.45


def schedule(
    inst: Instance,
    sched: Schedule,
    *,
    labels: Sequence[Any] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one schedule, a bar for each request, over the tokens it holds round by round.

    Requests are sorted by start, the first on top. A bar spans the rounds in which the request
    computes: full colour for the round that prefills its prompt (drawn at least 0.4% of the
    makespan wide), lighter for the rounds that produce output. The lower panel shares the round
    axis and shows the tokens held, with the capacity as a line.

    Args:
      inst: one instance, ``[n]``.
      sched: its schedule.
      labels: the class of each request, ``[n]``, which gives it its colour; by default short
        or long prompts and outputs, as against the medians. Those of padding are ignored.
      title: above the picture.
      ax: matplotlib axes to draw on; None makes new ones. The lower panel is an inset of them.

    Returns:
      The axes; ``ax.child_axes[0]`` is the lower panel.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are several instances, the instance was not scheduled, or there are as
        many labels as requests but more classes than colours.

    Example:
      >>> import jaxsched as js
      >>> from matplotlib.figure import Figure
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=7)
      >>> sched = js.simulate(inst, js.prioritize(inst, "shortest_output"))
      >>> ax = js.plots.schedule(inst, sched, labels=["a", "b", "a"], ax=Figure().subplots())
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['a', 'b']
    """
    if np.ndim(inst.kv_capacity):
        raise ValueError(
            f"there are {np.size(inst.kv_capacity)} instances; expected one, such as "
            "jax.tree.map(lambda leaf: leaf[0], (inst, sched))"
        )
    require_ok(sched, "the schedule")
    names = _classes(inst) if labels is None else _checked_labels(labels, inst)
    real = np.flatnonzero(inst.is_real)
    start, end = np.asarray(sched.start), np.asarray(sched.completion)
    order = real[np.lexsort((end[real], start[real]))]
    held = kv_profile(inst, sched)
    classes = list(dict.fromkeys(names[order] if labels is not None else sorted(names[real])))
    require_colours(len(classes), "classes of requests")

    ax = new_axes(_ROWS) if ax is None else ax
    _draw_bars(ax, start[order], end[order], names[order], classes, len(held))
    # The bars take the top of the axes, the memory the bottom, so that both stay in their place.
    n = len(order)
    num_rows = max(n, _LEAST_ROWS)
    bottom = num_rows / (1 - _SHARE_OF_MEMORY - _GAP)
    above = (num_rows - n) / 2
    ax.set_ylim(bottom - above, -above)
    ax.set_xlim(0, len(held))
    ticks = [tick for tick in _row_ticks(ax, n) if tick >= 1]
    ax.set_yticks([tick - 0.5 for tick in ticks], [f"{tick:,}" for tick in ticks])
    ax.set_ylabel("request, by start", y=1 - num_rows / bottom / 2, horizontalalignment="center")
    ax.set_xlabel("round")
    ax.set_title(title, fontsize="medium")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(loc="upper right", fontsize="small", framealpha=0.9)
    _draw_memory(ax, held, int(inst.kv_capacity))
    return ax


def _draw_bars(
    ax: Axes,
    start: np.ndarray,
    end: np.ndarray,
    names: np.ndarray,
    classes: list[Any],
    makespan: int,
) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    height = 0.8 if len(start) <= _FEW_REQUESTS else 1.0
    edge = 0.0 if len(start) <= _FEW_REQUESTS else _LEAST_HEIGHT / 2
    top = np.arange(len(start)) + (1 - height) / 2
    prefill = np.minimum(start + max(1, _LEAST_WIDTH * makespan), end)
    for name, colour in zip(classes, COLOURS, strict=False):
        chosen = names == name
        tint = 1 - _OUTPUT_TINT * (1 - np.array(to_rgb(colour)))
        for left, right, face, label in (
            (start, end, tint, None),
            (start, prefill, colour, str(name)),
        ):
            boxes = _boxes(left[chosen], right[chosen], top[chosen], height)
            ax.add_collection(
                PolyCollection(
                    boxes, facecolors=[face], edgecolors=[face], linewidths=edge, label=label
                ),
                autolim=False,
            )


def _boxes(left: np.ndarray, right: np.ndarray, top: np.ndarray, height: float) -> Any:
    """Corners of rectangles, ``[n, 4, 2]``."""
    x = np.stack([left, right, right, left], axis=-1)
    y = np.stack([top, top, top + height, top + height], axis=-1)
    return np.stack([x, y], axis=-1)


def _row_ticks(ax: Axes, n: int) -> list[int]:
    """Choose round numbers of rows, 1 among them."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(nbins=5, integer=True).tick_values(1, n)
    inner = [int(tick) for tick in found if 1 < tick <= n]
    return [1, *inner]


def _draw_memory(ax: Axes, held: np.ndarray, kv_capacity: int) -> None:
    below = ax.inset_axes((0, 0, 1, _SHARE_OF_MEMORY), sharex=ax)
    rounds = np.arange(len(held) + 1)
    below.fill_between(rounds, np.append(held, held[-1]), step="post", color="0.75", linewidth=0)
    below.axhline(kv_capacity, color=LIMIT, linestyle="--")
    below.annotate(
        f"capacity {kv_capacity:,}",
        (1, kv_capacity),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 4),
        textcoords="offset points",
        horizontalalignment="right",
        color=LIMIT,
        fontsize="small",
    )
    below.set_ylim(0, 1.3 * kv_capacity)
    below.set_ylabel("tokens held")
    below.tick_params(labelbottom=False, bottom=False)
    below.spines[["top", "right"]].set_visible(False)


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
        raise ValueError(
            f"labels has shape {names.shape}; expected one for each request, "
            f"{np.shape(inst.is_real)}"
        )
    return names
