"""Schedule LLM inference under a KV-cache budget: simulate, compare, bound and tune."""

from __future__ import annotations

import importlib

# The public names, and the module that each one lives in or is. A module loads when its name is
# first used: jax takes most of a second, which help texts and other imports need not pay.
_HOME = {
    "CapacityPlan": "jaxsched.studies.capacity.capacity_plan",
    "Comparison": "jaxsched.studies.comparing.comparison",
    "Decision": "jaxsched.studies.decisions.decision",
    "Improvement": "jaxsched.search.improve",
    "Instance": "jaxsched.model.instance",
    "Outcome": "jaxsched.model.outcome",
    "Requests": "jaxsched.model.requests",
    "Schedule": "jaxsched.model.schedule",
    "Server": "jaxsched.model.server",
    "ServiceComparison": "jaxsched.studies.serving.service_comparison",
    "ServicePlan": "jaxsched.studies.rates.service_plan",
    "ServiceVerdict": "jaxsched.model.service.verify_service",
    "Status": "jaxsched.model.schedule",
    "Verdict": "jaxsched.model.verify",
    "bounds": "jaxsched.bounds",
    "calibrate": "jaxsched.calibrate",
    "clock": "jaxsched.clock",
    "compare": "jaxsched.studies.comparing.compare",
    "decide": "jaxsched.studies.decisions.decide",
    "export": "jaxsched.export",
    "improve": "jaxsched.search.improve",
    "load_sweep": "jaxsched.sweeps",
    "metrics": "jaxsched.metrics",
    "plan_capacity": "jaxsched.studies.capacity.plan_capacity",
    "plan_memory": "jaxsched.studies.rates.plan_needs",
    "plan_rate": "jaxsched.studies.rates.plan_rate",
    "plan_servers": "jaxsched.studies.rates.plan_needs",
    "plots": "jaxsched.plots",
    "policies": "jaxsched.policies",
    "prioritize": "jaxsched.policies",
    "run_sweep": "jaxsched.sweeps",
    "serve": "jaxsched.policies",
    "servers": "jaxsched.servers",
    "simulate": "jaxsched.engine.simulate",
    "stack": "jaxsched.model.stack",
    "sweeps": "jaxsched.sweeps",
    "testing": "jaxsched.testing",
    "traces": "jaxsched.traces",
    "tune": "jaxsched.tuning",
    "tuning": "jaxsched.tuning",
    "verify": "jaxsched.model.verify",
    "verify_service": "jaxsched.model.service.verify_service",
    "workloads": "jaxsched.workloads",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  # which reads __init__.pyi


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(_HOME[name])
    is_module = _HOME[name] == f"{__name__}.{name}"
    globals()[name] = value = home if is_module else getattr(home, name)
    return value


def __dir__() -> list[str]:
    return __all__
