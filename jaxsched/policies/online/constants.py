"""Constants of rules: checked where they are numbers, left alone where they are traced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, reject

_TYPES = np.finfo(np.float32)
_LARGEST = float(_TYPES.max)


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float = _LARGEST,
) -> jax.Array:
    """Make a constant a float32, so that other numbers compile nothing anew, or raise.

    Args:
      name: what the factory calls it.
      value: a number, or an array of numbers; a traced one is not looked at.
      above: it must be larger.
      least: it must be as large.
      most: it must not be larger; infinity allows infinity.

    Returns:
      The constant, float32.

    Raises:
      InputError: it is out of range as a float of 32 bits, or no number.

    Example:
      >>> from jaxsched.policies.online.constants import real
      >>> real("half_tokens", 0, above=0)
      Traceback (most recent call last):
      jaxsched._lib.errors.InputError: half_tokens is 0; expected a finite number > 0
    """
    if is_traced(value):
        return jnp.asarray(value, jnp.float32)
    expectation = _expected(above, least, most)
    try:
        given = np.asarray(value)
    except ValueError:  # rows of several lengths
        raise InputError(name, value, expectation) from None
    if not (jnp.issubdtype(given.dtype, np.integer) or jnp.issubdtype(given.dtype, np.floating)):
        raise InputError(name, value, expectation)
    with np.errstate(over="ignore", under="ignore"):
        number = given.astype(np.float32)
    number = np.where(np.abs(number) < _TYPES.tiny, np.float32(0), number)  # as devices count
    is_right = number <= np.float32(most)  # no NaN is
    is_right &= number >= np.float32(-_LARGEST if least is None else least)
    if above is not None:
        is_right &= number > np.float32(above)
    reject(name, given, ~is_right, expectation)
    return jnp.asarray(number)


def _expected(above: float | None, least: float | None, most: float) -> str:
    if least is not None and most < _LARGEST:
        return f"expected a number from {least:g} to {most:g}"
    bound = f" > {above:g}" if above is not None else f" >= {least:g}" if least is not None else ""
    kind = "finite number" if most == _LARGEST else "number"
    return f"expected a {kind}{bound}"
