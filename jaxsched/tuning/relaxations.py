r"""Completions that are smooth in the priorities, in place of simulated ones.

Each takes the scores ``z`` ``[n]`` of one instance ``[n]`` and a temperature :math:`\tau`, and
returns float32 completions ``[n]``. :math:`P_{ij} = \sigma((z_i - z_j)/\tau)` is the soft fact that
:math:`j` goes before :math:`i`. Rows of :math:`P` are formed in blocks, also on the way back, so
that memory grows with ``n`` rather than with its square.

:func:`soft_sort` and :func:`straight_through` are experiments.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.instance import Instance
from jaxsched.tuning._hard_starts import soft_sort, straight_through
from jaxsched.tuning._soft_order import by_rows, soft_sums

__all__ = ["fluid", "soft_sort", "straight_through", "work_ahead"]


def work_ahead(score: jax.Array, inst: Instance, temperature: Any) -> jax.Array:
    r"""Complete when the work ahead is done by a cache that is always full.

    .. math:: c_i = \frac1M \sum_j P_{ij} v_j + o_i

    As :math:`\tau \to 0`, the sum holds the volumes of the requests before :math:`i` and half of
    its own, and among all orders the smallest volume first has the least mean.

    Args:
      score: float32 ``[n]``, lower first.
      inst: one instance ``[n]``.
      temperature: :math:`\tau > 0`, in units of the score.

    Returns:
      float32 ``[n]`` rounds; of no meaning for padding.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.tuning.relaxations.work_ahead(jnp.array([0.0, 1.0]), inst, 1e-3).tolist()
      [2.5625, 6.0]

    Source:
      Ours.
    """
    return _ahead(score, inst, temperature) + inst.output_tokens.astype(jnp.float32)


def fluid(score: jax.Array, inst: Instance, temperature: Any) -> jax.Array:
    r"""Complete as :func:`work_ahead`, less the work that runs beside the request itself.

    Others that went before are still decoding when :math:`i` starts; of their volume only the
    part done by then had to fit. With :math:`a_i = \frac1M \sum_j P_{ij} v_j` and the time
    :math:`e_{ij} = \min(\max(a_i - a_j, 0), o_j)` that :math:`j` has run by then,

    .. math:: c_i = \frac1M \sum_j P_{ij}
              \big(s_j e_{ij} + \tfrac12 e_{ij}(e_{ij} + \min(e_{ij}, 1))\big) + o_i

    so that a request with many short ones ahead waits for all of their volume, and one just
    behind a few long ones for little of theirs. As :math:`\tau \to 0` the order becomes hard in
    both sums. A refinement of first order: the profile is that of the fluid schedule, not of
    the simulated one, and look-ahead is not seen. In `experiments/gradients.py` it is the better
    guide far from the optimum of a linear rule, leads astray near that of a network, and takes
    ten times as long as :func:`work_ahead`.

    Args:
      score: float32 ``[n]``, lower first.
      inst: one instance ``[n]``.
      temperature: :math:`\tau > 0`, in units of the score.

    Returns:
      float32 ``[n]`` rounds; of no meaning for padding.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
      >>> js.tuning.relaxations.fluid(jnp.array([0.0, 1.0]), inst, 1e-3).tolist()
      [2.0, 4.758056640625]

    Source:
      Ours.
    """
    prompt, output = (
        tokens.astype(jnp.float32) for tokens in (inst.prompt_tokens, inst.output_tokens)
    )
    ahead = _ahead(score, inst, temperature)

    def done(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        score_i, ahead_i = row
        ran = jnp.minimum(jax.nn.relu(ahead_i - ahead), output)
        volume = prompt * ran + 0.5 * ran * (ran + jnp.minimum(ran, 1.0))
        is_before = jax.nn.sigmoid((score_i - score) / temperature)
        return jnp.sum(jnp.where(inst.is_real, is_before * volume, 0.0))

    return by_rows(done, (score, ahead)) / inst.kv_capacity.astype(jnp.float32) + output


def _ahead(score: jax.Array, inst: Instance, temperature: Any) -> jax.Array:
    volume = jnp.where(inst.is_real, inst.volume, 0.0)
    warmth = jnp.asarray(temperature, score.dtype)
    return soft_sums(score / warmth, volume) / inst.kv_capacity.astype(jnp.float32)
