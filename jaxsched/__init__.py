"""Schedule LLM inference under a KV-cache budget: simulate, compare, bound and tune."""

from jaxsched import (
    bounds,
    clock,
    export,
    metrics,
    plots,
    policies,
    servers,
    sweeps,
    testing,
    traces,
    tuning,
    workloads,
)
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Schedule, Status
from jaxsched.model.server import Server
from jaxsched.model.stack import stack
from jaxsched.model.verify import Verdict, verify
from jaxsched.policies import prioritize
from jaxsched.search.improve import Improvement, improve
from jaxsched.studies.capacity.capacity_plan import CapacityPlan
from jaxsched.studies.capacity.plan_capacity import plan_capacity
from jaxsched.studies.comparing.compare import compare
from jaxsched.studies.comparing.comparison import Comparison
from jaxsched.sweeps import load_sweep, run_sweep
from jaxsched.tuning import tune

__all__ = [
    "CapacityPlan",
    "Comparison",
    "Improvement",
    "Instance",
    "Outcome",
    "Requests",
    "Schedule",
    "Server",
    "Status",
    "Verdict",
    "bounds",
    "clock",
    "compare",
    "export",
    "improve",
    "load_sweep",
    "metrics",
    "plan_capacity",
    "plots",
    "policies",
    "prioritize",
    "run_sweep",
    "servers",
    "simulate",
    "stack",
    "sweeps",
    "testing",
    "traces",
    "tune",
    "tuning",
    "verify",
    "workloads",
]
