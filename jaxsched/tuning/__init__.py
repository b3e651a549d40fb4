"""Rules with parameters, made better by gradients: objectives, estimators and the tuner."""

from jaxsched.tuning._tune import History, Tuned, evaluate, tune
from jaxsched.tuning.estimators import Estimate, Estimator, ScoreNoise, WorkAhead, default_estimator
from jaxsched.tuning.objectives import Objective, mean_latency, p99, p_norm

__all__ = [
    "Estimate",
    "Estimator",
    "History",
    "Objective",
    "ScoreNoise",
    "Tuned",
    "WorkAhead",
    "default_estimator",
    "evaluate",
    "mean_latency",
    "p99",
    "p_norm",
    "tune",
]
