"""Pictures: `show/plots` under its public name."""

from jaxsched.show.plots import (
    calibration,
    capacity,
    figure_width,
    heatmap,
    latency_cdf,
    load,
    mean_bars,
    memory,
    new_axes,
    ratio,
    schedule,
    search,
    service,
    stacked_axes,
    traffic,
    tuning,
)

__all__ = [
    "calibration",
    "capacity",
    "figure_width",
    "heatmap",
    "latency_cdf",
    "load",
    "mean_bars",
    "memory",
    "new_axes",
    "ratio",
    "schedule",
    "search",
    "service",
    "stacked_axes",
    "traffic",
    "tuning",
]
