r"""Outcomes that are smooth in the priorities, in place of simulated ones.

Each takes the scores ``z`` ``[n]`` of one instance ``[n]`` and a temperature :math:`\tau`, and
returns an :class:`~jaxsched.Outcome` in rounds, float32 ``[n]``.
:math:`P_{ij} = \sigma((z_i - z_j)/\tau)` is the soft fact that :math:`j` goes before :math:`i`.
Rows of :math:`P` are formed in blocks, also on the way back, so that memory grows with ``n``
rather than with its square.

:func:`work_ahead` knows volumes alone. :func:`memory_balance` starts from the simulated schedule,
and is the nearer to the simulator. :func:`soft_sort` and :func:`straight_through` are experiments.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.tuning.relaxations.hard_starts import soft_sort, straight_through
from jaxsched.tuning.relaxations.memory_balance import memory_balance
from jaxsched.tuning.relaxations.relaxation import Relaxation
from jaxsched.tuning.relaxations.soft_order import soft_sums

__all__ = [
    "Relaxation",
    "hard_evaluations",
    "memory_balance",
    "soft_sort",
    "straight_through",
    "work_ahead",
]


def hard_evaluations(relaxation: Any) -> int:
    """Count the simulations that a relaxation takes: 1 if it starts from a simulated schedule.

    Args:
      relaxation: a :class:`Relaxation`, or a ``functools.partial`` of one.

    Returns:
      Its attribute ``simulations``; 0 if it has none.

    Example:
      >>> from jaxsched.tuning import relaxations
      >>> relaxations.hard_evaluations(relaxations.memory_balance)
      1
    """
    while isinstance(relaxation, functools.partial):
        relaxation = relaxation.func
    return getattr(relaxation, "simulations", 0)


def work_ahead(score: jax.Array, inst: Instance, temperature: Any) -> Outcome:
    r"""Complete when the work ahead is done by a cache that is always full.

    .. math:: c_i = \frac1M \sum_j P_{ij} v_j + o_i

    As :math:`\tau \to 0`, the sum holds the volumes of the requests before :math:`i` and half of
    its own, and among all orders the smallest volume first has the least mean.

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
      >>> js.tuning.relaxations.work_ahead(jnp.array([0.0, 1.0]), inst, 1e-3).completion.tolist()
      [2.5625, 6.0]

    Source:
      Ours.
    """
    volume = jnp.where(inst.is_real, inst.volume, 0.0)
    ahead = soft_sums(score / jnp.asarray(temperature, score.dtype), volume)
    start = ahead / inst.kv_capacity.astype(jnp.float32)
    return Outcome.relaxed(inst, start + inst.output_tokens.astype(jnp.float32))
