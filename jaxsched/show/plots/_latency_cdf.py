"""How latencies are spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxsched._lib.errors import InputError
from jaxsched.metrics.latency import latency, outcome_of
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.show.plots._arguments import Schedules, named, warn_of_old_form
from jaxsched.show.plots._axes import curve_axes
from jaxsched.show.plots._frame import finish
from jaxsched.show.plots._shares import draw_shares
from jaxsched.show.plots._style import require_distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def latency_cdf(
    inst: Instance | Mapping[str, Any],
    schedules: Schedules | None = None,
    clock: LinearClock | None = None,
    *,
    unit: str | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of requests that have completed, by time, for several schedules.

    Args:
      inst: the instances, ``[n]`` or ``[.., n]``; the requests of all of them count alike.
      schedules: their schedule or :class:`Outcome`, or several by name.
      clock: gives seconds; without one latencies are in rounds.
      unit: goes with the old form, ``latency_cdf({name: latencies}, unit="s")`` with those of
        :func:`jaxsched.metrics.latency`, which is deprecated.
      title: above the picture, such as the workload and the server.
      ax: matplotlib axes to draw on; None makes new ones.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: there are more schedules than can be told apart, one has no latency, or some
        count rounds and others seconds.

    Example:
      >>> import jaxsched as js
      >>> from matplotlib.figure import Figure
      >>> inst = js.Instance.from_lengths([7, 1, 1], [1, 2, 2], kv_capacity=8)
      >>> schedules = {
      ...     rule: js.simulate(inst, js.prioritize(inst, rule))
      ...     for rule in ("fcfs", "smallest_volume")
      ... }
      >>> ax = js.plots.latency_cdf(inst, schedules, ax=Figure().subplots())
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['fcfs', 'smallest_volume']
    """
    if isinstance(inst, Mapping):
        warn_of_old_form("latency_cdf(latencies)", "latency_cdf(inst, {name: schedule})")
        latencies = inst
    else:
        outcomes = {
            name: outcome_of(inst, sched, clock) for name, sched in named(schedules).items()
        }
        latencies = {name: latency(inst, out) for name, out in outcomes.items()}
        unit = _one_unit(outcomes)
    require_distinct(len(latencies), "schedules")
    ax = curve_axes(len(latencies)) if ax is None else ax
    draw_shares(ax, latencies, "schedules")
    finish(
        ax,
        x_label=f"latency ({unit or 'rounds'}), lower is better",
        y_label="share of requests completed",
        title=title,
    )
    return ax


def _one_unit(outcomes: Mapping[str, Outcome]) -> str:
    units = {out.time_unit for out in outcomes.values()}
    if len(units) > 1:
        finding = "count rounds and seconds"
        raise InputError("schedules", outcomes, "expected one unit for all", finding=finding)
    return units.pop()
