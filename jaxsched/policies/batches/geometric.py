"""Geometric batching: classes of output length that double."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.order import serving_order
from jaxsched.model.instance import Instance
from jaxsched.policies.scores.volume_rank import exact_volume_priority


def geometric(inst: Instance) -> jax.Array:
    r"""Serve by classes of output length that double, smallest volume first within each (GBA).

    Class :math:`r` holds the requests with :math:`2^{r-1} < o \le 2^r`; class 0 those with
    :math:`o = 1`. Lengths need to be known up to a factor of two only. (The form for unknown
    lengths, which kills a request at :math:`2^r` and restarts it in the next class, needs
    restarts and is no rule of this kind.)

    Args:
      inst: one instance ``[n]``.

    Returns:
      int32 ``[n]``, positions; ties of class and volume by index.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([9, 1, 1, 5], [1, 4, 3, 2], kv_capacity=20)
      >>> js.policies.geometric(inst).tolist()  # classes 0, 2, 2, 1
      [0, 3, 2, 1]

    Source:
      Our form of Feng et al., 2026, arXiv:2601.22996.
    """
    # o lies in (2^(r-1), 2^r] exactly if o - 1 has r binary digits.
    num_digits = 32 - lax.clz(inst.output_tokens - 1)
    by_volume = serving_order(exact_volume_priority(inst.prompt_tokens, inst.output_tokens))
    order = by_volume[serving_order(num_digits[by_volume])]
    return jnp.zeros_like(order).at[order].set(lax.iota(jnp.int32, order.shape[0]))
