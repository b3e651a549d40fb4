"""Proven lower bounds on the total latency of an instance, and the optimum of small ones."""

from jaxsched.bounds._busy import mean_busy
from jaxsched.bounds._exact import Optimum, exact
from jaxsched.bounds._linear_program import linear_program, solve_time_indexed_lp
from jaxsched.bounds._price import PriceBound, price
from jaxsched.bounds._volume import volume

__all__ = [
    "Optimum",
    "PriceBound",
    "exact",
    "linear_program",
    "mean_busy",
    "price",
    "solve_time_indexed_lp",
    "volume",
]
