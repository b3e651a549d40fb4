"""Ways to a gradient of the simulated objective, interchangeable in :func:`js.tune`.

=================== ============================================= =============================
estimator           how                                           hard evaluations an instance
=================== ============================================= =============================
TangentNoise        antithetic moves that the parameters can make 2 pairs
ScoreNoise          antithetic noise on the scores                2 pairs
GuidedNoise         the same, a relaxation as control variate     2 pairs, and the relaxation's
Pathwise            through a relaxation; biased, without noise   none, or one
PlackettLuce        random orders, leave-one-out baseline         samples
EvolutionStrategies noise on the parameters; a control            2 pairs
RandomSearch        the best of some steps; a control             2 pairs
=================== ============================================= =============================

How far each can be trusted is for :func:`jaxsched.tuning.fidelity` to say.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxsched.tuning.estimators.estimate import Estimate, Estimator, Scheduled
from jaxsched.tuning.estimators.parameter_noise import EvolutionStrategies, RandomSearch
from jaxsched.tuning.estimators.pathwise import Pathwise
from jaxsched.tuning.estimators.plackett_luce import PlackettLuce
from jaxsched.tuning.estimators.score_noise import GuidedNoise, ScoreNoise
from jaxsched.tuning.estimators.tangent_noise import TangentNoise
from jaxsched.tuning.objectives import Objective, mean_latency
from jaxsched.tuning.traffic import is_dynamic

__all__ = [
    "Estimate",
    "Estimator",
    "EvolutionStrategies",
    "GuidedNoise",
    "Pathwise",
    "PlackettLuce",
    "RandomSearch",
    "Scheduled",
    "ScoreNoise",
    "TangentNoise",
    "default_estimator",
]


def default_estimator(objective: Objective = mean_latency, rule: Any = None) -> Estimator:
    """Make the estimator that :func:`js.tune` takes when none is given: two pairs of tangent noise.

    Four hard evaluations of an instance, any objective, and a cosine of 0.67 or more at every
    point of `experiments/gradients.py`, which none of the cheap ones beside it reaches. A dynamic
    rule has no scores of its requests once for all, so its parameters are moved.

    Args:
      objective: what is made small.
      rule: what it is for; None for a static rule.

    Returns:
      :class:`TangentNoise`, noise 0.1 in standard deviations of an instance's scores, or for a
      dynamic rule :class:`EvolutionStrategies`, noise 0.2, meant for :func:`js.tuning.in_logs`.

    Example:
      >>> import jaxsched as js
      >>> type(js.tuning.default_estimator()).__name__
      'TangentNoise'
    """
    if is_dynamic(rule):
        return EvolutionStrategies(noise=jnp.float32(0.2), pairs=4, objective=objective)
    return TangentNoise(noise=jnp.float32(0.1), pairs=2, objective=objective)
