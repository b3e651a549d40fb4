"""What bounds need to know of weights, and how much float64 bounds give away."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._lib.arrays import namespace
from jaxsched.model.instance import Instance, exact_volume, weight_of

ROUNDING = 1e-9  # relative: what float64 bounds give away, far more than they can be wrong by
TINY = 1e-300  # less than any weight, so that nothing is divided by 0


def weighed(inst: Instance) -> tuple[Any, Any]:
    """Weights, 0 for padding, and volumes over weights, 0 for padding; float64 ``[.., n]``."""
    xp = namespace(inst.prompt_tokens)
    weight = xp.where(inst.is_real, weight_of(inst).astype(xp.float64), 0)
    return weight, exact_volume(inst).astype(xp.float64) / xp.maximum(weight, TINY)


def from_the_end(weight: np.ndarray) -> np.ndarray:
    """Weights that are left before each request in turn, and 0 after the last."""
    return np.append(np.cumsum(weight[::-1])[::-1], 0.0)
