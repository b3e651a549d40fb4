"""Attainment over the load, a panel for each workload and server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = {
    "fcfs": "first come, first served",
    "shortest_prompt": "shortest prompt",
    "smallest_volume": "smallest volume",
    "gamma_boost": "gamma boost",
    "uniboost": "UniBoost",
    "skip_join_mlfq": "skip-join MLFQ",
    "virtual_token_counter": "VTC",
}
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def picture(table: Sequence[dict[str, Any]]) -> Figure:
    """Draw a few of the rules; intervals are in the table."""
    frame = pd.DataFrame(table)
    workloads, servers = (list(frame[name].unique()) for name in ("workload", "server"))
    figure, axes = plt.subplots(
        len(servers),
        len(workloads),
        figsize=(3.1 * len(workloads) + 0.4, 2.5 * len(servers) + 0.9),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, server in zip(axes, servers, strict=True):
        for ax, workload in zip(row, workloads, strict=True):
            own = frame[(frame["workload"] == workload) & (frame["server"] == server)]
            for (rule, label), style in zip(SHOWN.items(), STYLES, strict=True):
                line = own[own["rule"] == rule]
                if len(line):
                    ax.plot(line["load"], 100 * line["attainment"], ls=style, label=label)
            ax.axhline(90, color="0.7", lw=0.8, zorder=0)
            ax.set_title(f"{workload}\n{server}", fontsize=9)
            ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("load")
    for ax in axes[:, 0]:
        ax.set_ylabel("within targets (%)")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure
