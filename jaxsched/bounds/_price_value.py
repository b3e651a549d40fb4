"""What prices prove, in float64 and rounded down, whatever found the prices."""

from __future__ import annotations

import numpy as np

from jaxsched.bounds import _price_blocks, _price_rounds
from jaxsched.bounds._weights import ROUNDING
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import NOT_SCHEDULED


def lagrangian(
    inst: Instance, edges: np.ndarray, prices: np.ndarray, release: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Evaluate :math:`L(\lambda)` for instances, rounded so as to stay a proof.

    Args:
      inst: the instances ``[B, n]``.
      edges: int64 ``[B, J + 1]``, ascending from 0.
      prices: float64 ``[B, J]``, none negative.
      release: int ``[B, n]``, first start allowed; None for 0.

    Returns:
      The values, float64 ``[B]``, less releases; and the cheapest starts int32 ``[B, n]``, -1 for
      padding.
    """
    prompt, output = np.asarray(inst.prompt_tokens), np.asarray(inst.output_tokens)
    if release is None:
        release = np.zeros_like(prompt)
    is_real, num_blocks = np.asarray(inst.is_real), prices.shape[1]
    has_few_rounds = edges[:, -1].max(initial=0) <= _price_rounds.ROUNDS_A_BLOCK * num_blocks
    by = _price_rounds if has_few_rounds else _price_blocks
    weight = None if inst.weight is None else np.asarray(inst.weight, np.float64)
    cost, start = by.least_costs(edges, prices, prompt, output, release, weight)
    sold = np.asarray(inst.kv_capacity, np.float64) * np.sum(prices * np.diff(edges), axis=1)
    paid = np.sum(cost, axis=1, where=is_real)
    value = paid - sold * (1 + _price_blocks.rounding(edges.shape[1]))
    value = np.where(is_real.any(axis=1), value - ROUNDING * np.abs(value), 0.0)
    return value, np.where(is_real, start, NOT_SCHEDULED).astype(np.int32)
