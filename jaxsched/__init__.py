"""Schedule LLM inference under a KV-cache budget: simulate, compare, bound and tune."""

from jaxsched import (
    bounds,
    clock,
    export,
    metrics,
    plots,
    policies,
    sweeps,
    testing,
    traces,
    tuning,
    workloads,
)
from jaxsched._capacity import plan_capacity
from jaxsched._capacity_plan import CapacityPlan
from jaxsched._compare import compare
from jaxsched._comparison import Comparison
from jaxsched._improve import Improvement, improve
from jaxsched._improve_rule import improved
from jaxsched._simulate import simulate
from jaxsched._verify import Verdict, verify
from jaxsched.instance import Instance, stack
from jaxsched.policies import prioritize
from jaxsched.schedule import Schedule, Status
from jaxsched.sweeps import load_sweep, run_sweep
from jaxsched.tuning import tune

# A rule that needs the simulator cannot be registered by policies, which know the instance only.
policies.register("improve", factory=improved)

__all__ = [
    "CapacityPlan",
    "Comparison",
    "Improvement",
    "Instance",
    "Schedule",
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
