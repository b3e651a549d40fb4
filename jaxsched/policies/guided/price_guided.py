"""The order in which requests would start if memory were paid for by the round."""

from __future__ import annotations

import numpy as np

from jaxsched._lib.arrays import on_host
from jaxsched.bounds import price
from jaxsched.model.instance import Instance, exact_volume
from jaxsched.policies._rule import HostRule, host_rule


def price_guided(num_steps: int = 300, tolerance: float = 3e-4, num_blocks: int = 512) -> HostRule:
    r"""Serve by the cheapest starts under the prices of the price bound, ties by volume.

    The prices :math:`\lambda_t` of :func:`jaxsched.bounds.price` say what a token is worth in
    each round. A request on its own would start at

    .. math:: k_i = \arg\min_{k \ge 0} \Bigl[ k + o_i
              + \sum_{t=k+1}^{k+o_i} \lambda_t (s_i + t - k) \Bigr] .

    Args:
      num_steps: see :func:`jaxsched.bounds.price`, as for the others.
      tolerance: stop when a cycle of steps raises the bound by less than this part.
      num_blocks: most blocks of rounds with a price each.

    Returns:
      A host rule: ranks by :math:`(k_i, v_i)`, int64 ``[n]``; padding first.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1, 6, 2, 1], [4, 5, 1, 2, 2], kv_capacity=10)
      >>> js.policies.price_guided()(inst).tolist()
      [3, 2, 1, 1, 0]

    Source:
      Ours.
    """

    def rank_by_start(inst: Instance) -> np.ndarray:
        bound = price(
            inst,
            num_steps=num_steps,
            tolerance=tolerance,
            num_blocks=num_blocks,
            progress=False,
        )
        pairs = np.stack([bound.best_starts.astype(np.int64), exact_volume(on_host(inst))])
        _, rank = np.unique(pairs, axis=1, return_inverse=True)
        return rank.reshape(-1)

    return host_rule(rank_by_start, "price_guided")
