"""Rules with parameters, made better by gradients: objectives, estimators and the tuner."""

from jaxsched.tuning import objectives, relaxations
from jaxsched.tuning._evaluate import evaluate
from jaxsched.tuning._fidelity import Fidelity, Reference, fidelity, reference_gradient
from jaxsched.tuning._history import History, Tuned
from jaxsched.tuning._tune import tune
from jaxsched.tuning.estimators import (
    Estimate,
    Estimator,
    EvolutionStrategies,
    GuidedNoise,
    Pathwise,
    PlackettLuce,
    RandomSearch,
    Scheduled,
    ScoreNoise,
    TangentNoise,
    default_estimator,
)
from jaxsched.tuning.in_logs import from_logs, in_logs
from jaxsched.tuning.objectives import (
    OBJECTIVES,
    Objective,
    mean_latency,
    p99,
    p99_latency,
    p_norm,
    weighted_latency,
)
from jaxsched.tuning.parts import parts
from jaxsched.tuning.settings import TUNABLE
from jaxsched.tuning.traffic import Traffic, traffic

__all__ = [
    "OBJECTIVES",
    "TUNABLE",
    "Estimate",
    "Estimator",
    "EvolutionStrategies",
    "Fidelity",
    "GuidedNoise",
    "History",
    "Objective",
    "Pathwise",
    "PlackettLuce",
    "RandomSearch",
    "Reference",
    "Scheduled",
    "ScoreNoise",
    "TangentNoise",
    "Traffic",
    "Tuned",
    "default_estimator",
    "evaluate",
    "fidelity",
    "from_logs",
    "in_logs",
    "mean_latency",
    "objectives",
    "p99",
    "p99_latency",
    "p_norm",
    "parts",
    "reference_gradient",
    "relaxations",
    "traffic",
    "tune",
    "weighted_latency",
]
