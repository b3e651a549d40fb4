"""A relaxation that starts from the simulated schedule and weighs what requests cost each other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsched.model.instance import Instance
from jaxsched.model.outcome import Outcome
from jaxsched.tuning.relaxations.relaxation import simulates_once
from jaxsched.tuning.relaxations.soft_order import by_rows
from jaxsched.tuning.relaxations.turns import starts_by_turn


@simulates_once
def memory_balance(score: jax.Array, inst: Instance, temperature: Any) -> Outcome:
    r"""Complete as simulated, corrected by what each soft change of order costs in memory and time.

    Until request :math:`i` starts, at the simulated round :math:`p_i`, a cache of :math:`M` tokens
    has been full or idle, :math:`M p_i = \sum_j h_j(p_i - p_j) + \text{idle}`, where
    :math:`h_j(d) = s_j r + \frac12 r (r + 1)`, :math:`r = \min(d, o_j)`, is what request :math:`j`
    has held after :math:`d` rounds, and only those ahead of :math:`i` have held anything. So
    whoever is ahead costs :math:`i`

    .. math:: \ell_{ij} = h_j(|p_i - p_j|) + \omega v_j,

    what it holds until then and its share of what lies idle: :math:`\omega` is all that lies idle
    before the last start, over all volume. A change of order moves these costs,

    .. math:: c_i = p_i + o_i + \frac1M \sum_{j \ne i} \big(P_{ij} - [j \text{ before } i]\big)
              \,\ell_{ij}

    with the starts held fixed. The simulated starts and idle memory are where look-ahead and
    packing come in; requests that run side by side cost each other only what they hold in
    between, which is parallel decoding. As :math:`\tau \to 0` completions are the simulated ones,
    if no scores are equal. It takes one hard evaluation, and then as long as a few.

    Args:
      score: float32 ``[n]``, lower first.
      inst: one instance ``[n]``.
      temperature: :math:`\tau > 0`, in units of the score.

    Returns:
      The outcome in float32 rounds ``[n]``; of no meaning for padding.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=7)
      >>> score = jnp.array([1.0, 2.0, 3.0])
      >>> js.simulate(inst, score).completion.tolist()
      [2, 5, 8]
      >>> js.tuning.relaxations.memory_balance(score, inst, 1e-3).completion.tolist()
      [2.0, 5.0, 8.0]

    Source:
      Ours.
    """
    prompt, output, capacity = (
        tokens.astype(jnp.float32)
        for tokens in (inst.prompt_tokens, inst.output_tokens, inst.kv_capacity)
    )
    starts, order = starts_by_turn(score, inst)
    start = jnp.zeros_like(starts).at[order].set(starts)
    turn = jnp.zeros_like(starts).at[order].set(jnp.arange(starts.shape[0], dtype=starts.dtype))
    cold = score / jnp.asarray(temperature, score.dtype)

    def held(rounds: jax.Array) -> jax.Array:
        ran = jnp.minimum(rounds, output)
        return prompt * ran + 0.5 * ran * (ran + 1)

    def total(of_requests: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(inst.is_real, of_requests, 0.0))

    idle = jnp.maximum(capacity * starts[-1] - total(held(starts[-1] - start)), 0.0)
    share = idle / total(inst.volume) * inst.volume

    def change(row: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        own_score, own_turn, own_start = row
        is_before = jax.nn.sigmoid(own_score - cold)
        was_before = 0.5 + 0.5 * jnp.sign(own_turn - turn)
        return total((is_before - was_before) * (held(jnp.abs(own_start - start)) + share))

    completion = start + output + by_rows(change, (cold, turn, start)) / capacity
    return Outcome.relaxed(inst, completion)
