"""Traffic in time: when requests arrive, from whom, how long they are, and what they demand.

A process takes a key, whose requests arrive, and a rate. The lengths come from any workload, or
from laws of their own. :data:`ARRIVALS` holds the processes by name, as sweeps call them.
"""

from collections.abc import Callable

from jaxsched._lib.registry import Registry
from jaxsched.model.requests import Requests
from jaxsched.workloads.arrivals.classes import with_classes
from jaxsched.workloads.arrivals.conversations import sessions
from jaxsched.workloads.arrivals.describing import describe
from jaxsched.workloads.arrivals.laws import (
    Exponential,
    LengthLaw,
    LogNormal,
    Mixture,
    Pareto,
    Sample,
)
from jaxsched.workloads.arrivals.lengths import requests, with_lengths
from jaxsched.workloads.arrivals.profiles import Bursts, Product, Profile, Steps
from jaxsched.workloads.arrivals.renewal import gamma, poisson, weibull
from jaxsched.workloads.arrivals.shaping import at_rate, cut
from jaxsched.workloads.arrivals.shares import zipf, zipf_exponent
from jaxsched.workloads.arrivals.smooth import Diurnal, Ramp
from jaxsched.workloads.arrivals.superposed import clients, superposed
from jaxsched.workloads.arrivals.varying import bursts, diurnal, ramp, varying

#: The processes that share the call ``name(key, inst, rate, **options)``.
ARRIVALS: Registry[Callable[..., Requests]] = Registry(
    "arrival process",
    {
        "poisson": poisson,
        "gamma": gamma,
        "weibull": weibull,
        "diurnal": diurnal,
        "ramp": ramp,
        "bursts": bursts,
        "clients": clients,
    },
)

__all__ = [
    "ARRIVALS",
    "Bursts",
    "Diurnal",
    "Exponential",
    "LengthLaw",
    "LogNormal",
    "Mixture",
    "Pareto",
    "Product",
    "Profile",
    "Ramp",
    "Sample",
    "Steps",
    "at_rate",
    "bursts",
    "clients",
    "cut",
    "describe",
    "diurnal",
    "gamma",
    "poisson",
    "ramp",
    "requests",
    "sessions",
    "superposed",
    "varying",
    "weibull",
    "with_classes",
    "with_lengths",
    "zipf",
    "zipf_exponent",
]
