"""Sweeps: `studies/sweeps` under its public name."""

from jaxsched.studies.sweeps import (
    SweepPlan,
    is_finished,
    load_sweep,
    plan,
    run_sweep,
)

__all__ = [
    "SweepPlan",
    "is_finished",
    "load_sweep",
    "plan",
    "run_sweep",
]
