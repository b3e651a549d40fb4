"""Orders drawn from a Plackett-Luce law, and the gradient of its logarithm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched._lib.arrays import in_jax
from jaxsched._lib.errors import InputError
from jaxsched._lib.pytree import pytree, static
from jaxsched.engine.order import serving_order, serving_order_on_host
from jaxsched.tuning.estimators.estimate import (
    Cases,
    Estimate,
    Scheduled,
    Shown,
    hard_values,
    pulled_back,
    relative,
    scores,
    units,
    within_orders,
)
from jaxsched.tuning.objectives import Objective, mean_latency
from jaxsched.tuning.traffic import shown_to_rules


@pytree
class PlackettLuce(Scheduled):
    r"""Score-function gradient over random orders, with a leave-one-out baseline.

    The next request is :math:`i` with probability proportional to :math:`e^{-z_i/\tau}` among those
    that remain. With orders :math:`\pi_1 .. \pi_S` and values :math:`f_k`, simulated,

    .. math:: \hat g = \frac1S \sum_k \frac{f_k - \bar f_{-k}}{\bar f}\,
              \nabla_\theta \ln p_\theta(\pi_k)

    where :math:`\bar f_{-k}` is the mean of the other samples. Unbiased for the expectation of
    :math:`f`, up to :math:`\bar f`, which turns it into the gradient of the logarithm.

    Attributes:
      temperature: :math:`\tau > 0`, in standard deviations of an instance's scores.
      samples: :math:`S \ge 2`; static.
      objective: what to make small; static.

    Source:
      Kool, van Hoof, Welling, *Buy 4 REINFORCE Samples, Get a Baseline for Free!*, 2019.
    """

    temperature: Any
    samples: int = static(default=3)
    objective: Objective = static(default=mean_latency)

    @property
    def simulations(self) -> int:
        """Hard evaluations of each instance in a call."""
        return self.samples

    def __call__(self, rule: Any, instances: Cases, key: jax.Array) -> Estimate:
        """Estimate value and gradient from ``samples`` simulations of each instance."""
        if self.samples < 2:
            raise InputError("samples", self.samples, "a leave-one-out baseline needs 2 or more")
        seen = shown_to_rules(instances)
        sampled = _sampled(self, rule, seen, key)
        values = hard_values(self.objective, instances, sampled)
        order = _serving_orders(seen, sampled)
        return _combined(self, rule, seen, order, values)


@jax.jit
def _sampled(estimator: PlackettLuce, rule: Any, instances: Shown, key: jax.Array) -> jax.Array:
    """Priorities ``[S, B, n]`` whose orders follow the law: scores less Gumbel noise."""
    score = scores(rule, instances)
    score = score / _warmth(estimator, score, instances)[:, None]
    return score[None] - jax.random.gumbel(key, (estimator.samples, *score.shape), jnp.float32)


def _warmth(estimator: PlackettLuce, score: jax.Array, instances: Shown) -> jax.Array:
    """Say how warm scores ``[B, n]`` are drawn: temperatures ``[B]`` in their unit."""
    return jnp.asarray(estimator.temperature, jnp.float32) * units(score, instances)


def _serving_orders(instances: Shown, sampled: jax.Array) -> jax.Array:
    """Put requests ``[S, B, n]`` in the order of their turns, padding last."""
    if in_jax(sampled):
        return serving_order(jnp.where(instances.is_real[None], sampled, jnp.inf))
    padded = np.where(np.asarray(instances.is_real)[None], np.asarray(sampled), np.inf)
    return jnp.asarray(serving_order_on_host(padded.astype(np.float32)))


@jax.jit
def _combined(
    estimator: PlackettLuce,
    rule: Any,
    instances: Shown,
    order: jax.Array,
    values: jax.Array,
) -> Estimate:
    # f - mean of the others = S / (S - 1) (f - mean of all)
    mean = jnp.sign(jnp.mean(values, axis=0, keepdims=True))  # in units of its size
    advantage = (relative(values) - mean) / (values.shape[0] - 1)
    score = scores(rule, instances)
    warmth = _warmth(estimator, score, instances)[:, None]
    logit = jnp.where(instances.is_real, -score / warmth, -jnp.inf)
    slopes = log_probability_slopes(logit, order)
    per_score = -jnp.sum(advantage[..., None] * slopes, axis=0) / warmth
    gradient = pulled_back(rule, instances, within_orders(per_score, score, instances))
    return Estimate(jnp.mean(values), gradient, {})


def log_probability_slopes(logit: jax.Array, order: jax.Array) -> jax.Array:
    r"""Slopes of the logarithms of the probabilities of orders, in the logits.

    With the turns :math:`1 .. n` of an order and :math:`R_k = \ln \sum_{j \ge k} e^{l_j}`,
    request :math:`i` has slope :math:`1 - \sum_{k \le i} e^{l_i - R_k}`. The sum is carried as
    :math:`y_i = \sum_{k \le i} e^{R_i - R_k} = 1 + e^{R_i - R_{i-1}} y_{i-1}`, which cannot
    overflow.

    Args:
      logit: float32 ``[B, n]``; -inf for padding.
      order: int32 ``[S, B, n]``, requests in order of turn, padding last.

    Returns:
      float32 ``[S, B, n]``, 0 for padding.
    """
    shape = order.shape
    spread = jnp.broadcast_to(logit, shape)
    turns = jnp.moveaxis(jnp.take_along_axis(spread, order, axis=-1), -1, 0)
    lanes = jnp.full(turns.shape[1:], -jnp.inf, turns.dtype)

    def join(remaining: jax.Array, logit: jax.Array) -> tuple[jax.Array, jax.Array]:
        joined = jnp.logaddexp(remaining, logit)
        return joined, joined

    _, remaining = lax.scan(join, lanes, turns, reverse=True)
    is_real = turns > -jnp.inf
    ratio = jnp.where(is_real, jnp.exp(jnp.diff(remaining, axis=0, prepend=jnp.inf)), 0.0)

    def carry(weight: jax.Array, ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        carried = 1 + ratio * weight
        return carried, carried

    _, weight = lax.scan(carry, jnp.zeros_like(lanes), ratio)
    slope = jnp.where(is_real, 1 - jnp.exp(turns - remaining) * weight, 0.0)
    return jnp.put_along_axis(
        jnp.zeros(shape, slope.dtype), order, jnp.moveaxis(slope, 0, -1), axis=-1, inplace=False
    )
