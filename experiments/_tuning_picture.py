"""Rates within targets above vLLM's defaults, a panel for each workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def picture(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the change of each pair of rule and settings, with its interval."""
    panels = list(pd.DataFrame(rows).groupby("workload", sort=False))
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(2.5 * len(panels) + 2.0, 3.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (workload, own) in zip(axes[0], panels, strict=True):
        own = own.iloc[:0:-1]  # the defaults themselves are the line at 0; the first is on top
        change, low, high = (own[f"above_defaults{end}"] for end in ("", "_low", "_high"))
        color = ["C1" if "tuned" in pair else "0.45" for pair in own["pair"]]
        ax.hlines(own["pair"], low, high, color=color, lw=1.2)
        ax.scatter(change, own["pair"], color=color, s=22, zorder=3)
        ax.axvline(0, color="0.7", lw=0.8, zorder=0)
        ax.set_title(workload, fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("rate within targets, above vLLM's defaults (%)", fontsize=10)
    return figure
