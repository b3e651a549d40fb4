"""Relaxations that keep the simulated start rounds and soften who takes which turn.

Experiments, here to be measured: the admission test stays hard, so they see that a request comes
later in its turn but not what its size does to all behind it. The gradients point uphill at some
of the points of `experiments/gradients.py`; look at :func:`jaxsched.tuning.fidelity` before use.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.tuning.relaxations.relaxation import simulates_once
from jaxsched.tuning.relaxations.soft_order import by_rows, soft_sums
from jaxsched.tuning.relaxations.turns import starts_by_turn


@simulates_once
def soft_sort(score: jax.Array, inst: Instance, temperature: Any) -> Outcome:
    r"""Take the simulated starts of all turns in the shares of SoftSort; an experiment.

    With scores in ascending order :math:`z_{(k)}` and the simulated start :math:`p_k` of turn
    :math:`k`, held fixed,

    .. math:: c_i = \sum_k P_{ki}\, p_k + o_i, \qquad
              P_{ki} = \frac{e^{-|z_{(k)} - z_i| / \tau}}{\sum_j e^{-|z_{(k)} - z_j| / \tau}}

    As :math:`\tau \to 0` completions are the simulated ones, if no scores are equal.

    Args:
      score: float32 ``[n]``, lower first.
      inst: one instance ``[n]``.
      temperature: :math:`\tau > 0`, in units of the score.

    Returns:
      The outcome in float32 rounds ``[n]``; of no meaning for padding.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.tuning.relaxations.soft_sort(jnp.array([0.0, 1.0]), inst, 1e-3).completion.tolist()
      [2.0, 4.0]

    Source:
      The shares are those of Prillo, Eisenschlos, *SoftSort: A Continuous Relaxation for the
      argsort Operator*, 2020, arXiv:2006.16038; what they weigh is ours.
    """
    starts, _ = starts_by_turn(score, inst)
    last = jnp.max(jnp.where(inst.is_real, score, -jnp.inf))
    ordered = jnp.sort(jnp.where(inst.is_real, score, last))
    is_real = inst.is_real.astype(score.dtype)
    is_turn = jnp.arange(score.shape[0]) < inst.num_requests

    def weight(one: jax.Array, others: jax.Array) -> jax.Array:
        return jnp.exp(-jnp.abs(one - others) / temperature)

    total = by_rows(lambda turn: jnp.sum(weight(turn, score) * is_real), ordered)
    share = jnp.where(is_turn, starts, 0.0) / total
    start = by_rows(lambda own: jnp.sum(weight(own, ordered) * share), score)
    return Outcome.relaxed(inst, start + inst.output_tokens.astype(jnp.float32))


@simulates_once
def straight_through(score: jax.Array, inst: Instance, temperature: Any) -> Outcome:
    r"""Complete as simulated, with the slope of a soft turn on the way back; an experiment.

    The completions are the simulated ones at any temperature. Their slopes are those of

    .. math:: c_i = p(r_i) + o_i, \qquad r_i = \sum_j P_{ij}

    where the start :math:`p` as a function of the turn is held fixed, with central differences
    for its slope. As :math:`\tau \to 0` the slopes vanish between ties.

    Args:
      score: float32 ``[n]``, lower first.
      inst: one instance ``[n]``.
      temperature: :math:`\tau > 0`, in units of the score.

    Returns:
      The outcome in float32 rounds ``[n]``; of no meaning for padding.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> out = js.tuning.relaxations.straight_through(jnp.array([0.0, 1.0]), inst, 0.5)
      >>> out.completion.tolist()
      [2.0, 4.0]

    Source:
      The idea is that of Bengio, Leonard, Courville, *Estimating or Propagating Gradients Through
      Stochastic Neurons for Conditional Computation*, 2013, arXiv:1308.3432; the soft turn is
      ours.
    """
    starts, order = starts_by_turn(score, inst)
    climb = jnp.zeros_like(starts).at[order].set(jnp.gradient(starts))
    start = jnp.zeros_like(starts).at[order].set(starts)
    turn = soft_sums(
        score / jnp.asarray(temperature, score.dtype), inst.is_real.astype(score.dtype)
    )
    start = start + climb * (turn - lax.stop_gradient(turn))
    return Outcome.relaxed(inst, start + inst.output_tokens.astype(jnp.float32))
