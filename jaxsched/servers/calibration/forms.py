"""Forms of clocks that are compared with the linear one.

All take time for the same work. Both extra terms depend on P and B alone, so that they stand
still while a batch decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxsched.servers.calibration.calibration import Alternative
from jaxsched.servers.calibration.least_squares import Fit, fit, squares

#: Tokens that a step may compute for free, to be tried.
_FREE_TOKENS = (16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024)


class Basis(NamedTuple):
    """Columns ``[n]`` that every form has.

    Attributes:
      one: steps.
      decoding_requests: B.
      kv_tokens: KV.
      squared_tokens: Q; None where it is not known.
      host: requests whose time outside of steps counts; None without times to first token.
    """

    one: np.ndarray
    decoding_requests: np.ndarray
    kv_tokens: np.ndarray
    squared_tokens: np.ndarray | None
    host: np.ndarray | None = None


def linear(basis: Basis, prefill: np.ndarray, ms: np.ndarray, shape: np.ndarray) -> Fit:
    """Fit a + b P + c B + d KV + e Q."""
    return fit(np.column_stack(_columns(basis, prefill)), ms, shape)


def alternatives(
    basis: Basis,
    prefill: np.ndarray,
    beyond: Callable[[float], np.ndarray],
    ms: np.ndarray,
    shape: np.ndarray,
) -> dict[str, Alternative]:
    """Fit a free region in P + B, found by search, and a term concave in B.

    Args:
      basis: the columns that all have.
      prefill: P ``[n]``.
      beyond: of a number of free tokens, the tokens P + B ``[n]`` above them.
      ms: measured times.
      shape: what is left out together.
    """
    letters = [
        *("a", "b", "c", "d"),
        *(() if basis.squared_tokens is None else ("e",)),
        *(() if basis.host is None else ("host",)),
    ]
    found = {}
    hinges = {free: np.column_stack(_columns(basis, beyond(free))) for free in _FREE_TOKENS}
    free = min(hinges, key=lambda each: squares(hinges[each], ms))
    found["hinge"] = _alternative(
        f"a + b max(0, P + B - {free}) + c B + d KV + e Q",
        letters,
        fit(hinges[free], ms, shape),
        {"T0": free},
    )
    roots = np.sqrt(basis.decoding_requests)
    concave = fit(np.column_stack([*_columns(basis, prefill), roots]), ms, shape)
    found["concave"] = _alternative(
        "a + b P + c B + f sqrt(B) + d KV + e Q", [*letters, "f"], concave
    )
    return found


def _columns(basis: Basis, prefill: np.ndarray) -> list[np.ndarray]:
    others = (basis.squared_tokens, basis.host)
    common = [basis.one, prefill, basis.decoding_requests, basis.kv_tokens]
    return [*common, *(each for each in others if each is not None)]


def _alternative(
    formula: str, letters: list[str], found: Fit, more: dict[str, float] | None = None
) -> Alternative:
    coefficients = dict(zip(letters, map(float, found.coefficients), strict=True))
    return Alternative(formula, {**(more or {}), **coefficients}, found.seen, found.unseen)
