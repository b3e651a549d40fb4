"""Proven lower bounds on total latency, the optimum of small backlogs, limits of servers."""

from jaxsched.bounds._busy import mean_busy
from jaxsched.bounds._exact import Optimum, exact
from jaxsched.bounds._hindsight import HindsightBound, hindsight
from jaxsched.bounds._linear_program import linear_program, solve_time_indexed_lp
from jaxsched.bounds._price import PriceBound, price
from jaxsched.bounds._stability import StabilityLimits, stability
from jaxsched.bounds._volume import volume

__all__ = [
    "HindsightBound",
    "Optimum",
    "PriceBound",
    "StabilityLimits",
    "exact",
    "hindsight",
    "linear_program",
    "mean_busy",
    "price",
    "solve_time_indexed_lp",
    "stability",
    "volume",
]
