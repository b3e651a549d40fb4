"""Pictures, drawn with matplotlib on axes that the caller may supply."""

from jaxsched.show.plots._axes import figure_width, new_axes, stacked_axes
from jaxsched.show.plots._calibration import calibration
from jaxsched.show.plots._capacity import capacity
from jaxsched.show.plots._heatmap import heatmap
from jaxsched.show.plots._latency_cdf import latency_cdf
from jaxsched.show.plots._load import load
from jaxsched.show.plots._mean_bars import mean_bars
from jaxsched.show.plots._memory import memory
from jaxsched.show.plots._ratio import ratio
from jaxsched.show.plots._schedule import schedule
from jaxsched.show.plots._search import search
from jaxsched.show.plots._service import service
from jaxsched.show.plots._traffic import traffic
from jaxsched.show.plots._tuning import tuning

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
