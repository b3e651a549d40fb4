"""Rules with parameters, made better by gradients: objectives, estimators and the tuner."""

from jaxsched.tuning.objectives import Objective, mean_latency, p99, p_norm

__all__ = ["Objective", "mean_latency", "p99", "p_norm"]
