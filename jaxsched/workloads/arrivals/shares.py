"""How the rate is shared among clients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, integer, reject

_STEEPEST = 20.0  # exponent of a Zipf law, at which one client has all


def zipf(num_clients: int, exponent: Any) -> jax.Array:
    r"""Share the rate among clients by a Zipf law, :math:`p_c \propto c^{-a}`.

    Args:
      num_clients: how many there are, C.
      exponent: :math:`a \ge 0`; at 0 all are alike. It may be traced.

    Returns:
      Shares that add up to 1, the largest first, float32 ``[C]``.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jaxsched as js
      >>> shares = js.workloads.arrivals.zipf(3, exponent=1.0)
      >>> [round(float(share), 3) for share in shares]
      [0.545, 0.273, 0.182]
    """
    integer("num_clients", num_clients)
    if not is_traced(exponent):
        exponent = np.asarray(exponent, np.float64)
        is_bad = ~((exponent >= 0) & (exponent <= _STEEPEST))
        reject("exponent", exponent, is_bad, f"expected a number from 0 to {_STEEPEST:g}")
    exponent = jnp.asarray(exponent).astype(jnp.float32)
    rank = jnp.arange(1, num_clients + 1, dtype=jnp.float32)
    return jax.nn.softmax(-exponent * jnp.log(rank))


def zipf_exponent(num_clients: int, top: int, share: float) -> float:
    """Find the exponent at which the largest clients have a share of the rate together.

    Args:
      num_clients: how many there are.
      top: how many of them are counted, fewer than there are.
      share: what these have together, above ``top / num_clients`` and below 1.

    Returns:
      The exponent, for :func:`zipf`.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jaxsched as js
      >>> exponent = js.workloads.arrivals.zipf_exponent(162, top=10, share=0.63)
      >>> shares = js.workloads.arrivals.zipf(162, exponent)
      >>> round(exponent, 2), round(float(shares[:10].sum()), 2)
      (1.17, 0.63)
    """
    integer("num_clients", num_clients, least=2)
    integer("top", top, 1, num_clients - 1)
    log_rank = np.log(np.arange(1, num_clients + 1))

    def share_at(exponent: float) -> float:
        weight = np.exp(-exponent * log_rank)
        return float(weight[:top].sum() / weight.sum())

    low, high = 0.0, _STEEPEST
    if not share_at(low) < share < share_at(high):
        expectation = f"expected a number above {top} / {num_clients} and below 1"
        raise InputError("share", share, expectation)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share_at(middle) < share else (low, middle)
    return (low + high) / 2
