"""Rules with parameters, made better by gradients: objectives, estimators and the tuner."""

from jaxsched.tuning import relaxations
from jaxsched.tuning._fidelity import Fidelity, Reference, fidelity, reference_gradient
from jaxsched.tuning._tune import History, Tuned, evaluate, tune
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
from jaxsched.tuning.objectives import (
    OBJECTIVES,
    Objective,
    mean_latency,
    p99,
    p99_latency,
    p_norm,
    weighted_latency,
)

__all__ = [
    "OBJECTIVES",
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
    "Tuned",
    "default_estimator",
    "evaluate",
    "fidelity",
    "mean_latency",
    "p99",
    "p99_latency",
    "p_norm",
    "reference_gradient",
    "relaxations",
    "tune",
    "weighted_latency",
]
