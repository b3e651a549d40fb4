"""Rules over a grid of workloads, sizes, capacities and servers, kept on disk and resumable."""

from jaxsched.studies.sweeps._load import is_finished, load_sweep
from jaxsched.studies.sweeps._plan import SweepPlan, plan
from jaxsched.studies.sweeps._run import run_sweep

__all__ = ["SweepPlan", "is_finished", "load_sweep", "plan", "run_sweep"]
