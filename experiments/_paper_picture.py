"""The picture of `sorted_f_paper.py`."""

from __future__ import annotations

from collections.abc import Mapping

from _paper_measures import Found
from matplotlib.axes import Axes
from matplotlib.figure import Figure

REFERENCE = "sorted_f"
NEAR = (0.85, 1.3)  # range of the picture's second panel
# Okabe and Ito's colours and a grey; markers tell the rules apart without them.
STYLES = {
    "fcfs": ("#000000", "v"),
    "shortest_output": ("#E69F00", "<"),
    "shortest_prompt": ("#999999", ">"),
    "total_size": ("#56B4E9", "D"),
    "smallest_volume": ("#009E73", "^"),
    "geometric": ("#F0E442", "P"),
    "sorted_f[local_swap]": ("#0072B2", "x"),
    "sorted_lp": ("#D55E00", "+"),
    "receding_horizon": ("#CC79A7", "o"),
}


def picture(cases: Mapping[str, Found], title: str) -> Figure:
    """Mean latency of each rule over that of Sorted-F, and the same once more near 1."""
    figure = Figure(figsize=(11, 1.8 + 0.55 * len(cases)), layout="constrained")
    wide, near = figure.subplots(1, 2, sharey=True)
    for panel in (wide, near):
        _draw_ratios(panel, cases)
        panel.axvline(1, color="grey", linewidth=1)
        panel.spines[["top", "right"]].set_visible(False)
    wide.set_xscale("log")
    ticks = [1, 2, 5, 10]
    wide.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    wide.set_xticks([], minor=True)
    near.set_xlim(*NEAR)
    wide.set_yticks(range(len(cases)), list(cases))
    wide.invert_yaxis()
    wide.set_title("all of these", fontsize="medium")
    near.set_title("near Sorted-F, 95% intervals", fontsize="medium")
    handles, labels = wide.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw_ratios(panel: Axes, cases: Mapping[str, Found]) -> None:
    for number, (rule, (colour, marker)) in enumerate(STYLES.items()):
        offset = 0.05 * (number - len(STYLES) // 2)
        changes, half_widths = zip(
            *(
                found["paired_mean_latency"]["rounds"][REFERENCE][rule]["change"]
                for found in cases.values()
            ),
            strict=True,
        )
        panel.errorbar(
            [1 + change for change in changes],
            [row + offset for row in range(len(cases))],
            xerr=half_widths,
            fmt=marker,
            color=colour,
            markeredgecolor=colour if marker in "x+" else "black",
            markeredgewidth=1.5 if marker in "x+" else 0.5,
            linewidth=1,
            label=rule,
        )
