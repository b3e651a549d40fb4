"""Pictures, drawn with matplotlib on axes that the caller may supply."""

from jaxsched.plots._axes import new_axes, stacked_axes
from jaxsched.plots._capacity import capacity
from jaxsched.plots._heatmap import heatmap
from jaxsched.plots._latency_cdf import latency_cdf
from jaxsched.plots._mean_bars import mean_bars
from jaxsched.plots._memory import memory
from jaxsched.plots._ratio import ratio
from jaxsched.plots._schedule import schedule
from jaxsched.plots._search import search
from jaxsched.plots._tuning import tuning

__all__ = [
    "capacity",
    "heatmap",
    "latency_cdf",
    "mean_bars",
    "memory",
    "new_axes",
    "ratio",
    "schedule",
    "search",
    "stacked_axes",
    "tuning",
]
