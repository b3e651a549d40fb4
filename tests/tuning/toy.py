"""A rule and an estimator whose descent can be worked out by hand."""

import os
import signal
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

import jaxsched as js

VOLUME_WEIGHT = 1.0


@chex.dataclass(frozen=True)
class Tilted:
    """Volume first at weights (1, 0); worse the farther from there."""

    weights: jax.Array

    def __call__(self, inst):
        prompt = jnp.log(inst.prompt_tokens.astype(jnp.float32))
        return self.weights[0] * jnp.log(inst.volume) + self.weights[1] * prompt


class Found(NamedTuple):
    value: jax.Array
    gradient: Tilted
    diagnostics: dict


@chex.dataclass(frozen=True)
class Towards(js.tuning.Scheduled):
    r"""Gradient of :math:`\frac12 |w - target|^2` times the temperature, plus noise."""

    target: jax.Array
    temperature: jax.Array = 1.0
    noise: jax.Array = 0.0

    def __call__(self, rule, instances, key):
        away = rule.weights - self.target
        gradient = self.temperature * away + self.noise * jax.random.normal(key, away.shape)
        return Found(0.5 * jnp.sum(away**2), Tilted(weights=gradient), {})


@chex.dataclass(frozen=True)
class KilledAtStep(Towards):
    """Kills its process at a step, which it counts."""

    kill_at: int = 0

    def __call__(self, rule, instances, key):
        global calls
        calls += 1
        if calls > self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return Towards.__call__(self, rule, instances, key)


calls = 0


def start():
    return Tilted(weights=jnp.array([0.0, 1.0]))


def towards_volume(**settings):
    return Towards(target=jnp.array([VOLUME_WEIGHT, 0.0]), **settings)


def instances(seed, batch=6, n=30):
    return js.workloads.mixed(jax.random.key(seed), num_requests=n, batch=batch)
