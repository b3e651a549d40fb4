"""What every process does alike: keys of streams, checked numbers, requests with new times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched._lib.errors import InputError, reject, wrong_shape
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests

#: Whose lengths arrive: a backlog, or requests whose times are replaced.
Lengths = Instance | Requests

LEAST_CV, MOST_CV = 0.01, 1000.0


def leading_of(reqs: Lengths) -> tuple[int, ...]:
    """Name the leading axes of requests."""
    return tuple(reqs.is_real.shape[:-1])


def per_stream(
    draw: Callable[..., Any], key: jax.Array, leading: tuple[int, ...], *numbers: Any
) -> Any:
    """Call ``draw(key, *numbers)`` for every stream, each with a key and numbers of its own."""
    keys = jax.random.split(key, leading) if leading else key
    for _ in leading:
        draw = jax.vmap(draw)
    return draw(keys, *numbers)


def one_a_stream(
    name: str, value: Any, leading: tuple[int, ...], expectation: str, least: float, most: float
) -> jax.Array:
    """Check a number, and give each stream its own, float64 ``[..]``; for 64-bit mode.

    Both limits are excluded.
    """
    if not is_traced(value):
        value = np.asarray(value, np.float64)
        is_bad = ~(np.isfinite(value) & (value > least) & (value < most))
        reject(name, value, is_bad, f"expected {expectation}")
    if value.shape not in ((), leading):
        raise wrong_shape(name, value.shape, f"expected one number, or {leading}")
    return jnp.broadcast_to(jnp.asarray(value).astype(jnp.float64), leading)


def rate_of(rate: Any, leading: tuple[int, ...]) -> jax.Array:
    """Check requests a second, float64 ``[..]``."""
    expectation = "a finite number of requests a second > 0"
    return one_a_stream("rate", rate, leading, expectation, 0.0, np.inf)


def cv_of(value: Any, leading: tuple[int, ...], name: str = "cv") -> jax.Array:
    """Check coefficients of variation of gaps, float64 ``[..]``."""
    expectation = f"a number from {LEAST_CV} to {MOST_CV:g}"
    least, most = LEAST_CV * (1 - 1e-12), MOST_CV * (1 + 1e-12)
    return one_a_stream(name, value, leading, expectation, least, most)


def spread_of(burstiness: Any, cv: Any, leading: tuple[int, ...]) -> jax.Array:
    """Take one of two names for the spread of gaps as a coefficient of variation ``[..]``."""
    if (burstiness is None) == (cv is None):
        raise InputError(
            "burstiness",
            burstiness,
            "give burstiness or cv, one of the two",
            finding="is missing, and so is cv" if burstiness is None else "is given, and so is cv",
        )
    if cv is not None:
        return cv_of(cv, leading)
    least, most = MOST_CV**-2 * (1 - 1e-12), LEAST_CV**-2 * (1 + 1e-12)
    expectation = f"1 / cv^2, from {MOST_CV**-2:g} to {LEAST_CV**-2:g}"
    return one_a_stream("burstiness", burstiness, leading, expectation, least, most) ** -0.5


def require_numbers(
    name: str,
    value: Any,
    expectation: str,
    least: float = -np.inf,
    most: float = np.inf,
    above: float = -np.inf,
) -> None:
    """Raise a ValueError for numbers out of range; traced ones are not looked at."""
    if is_traced(value):
        return
    numbers = np.asarray(value, np.float64)
    is_good = np.isfinite(numbers) & (numbers >= least) & (numbers <= most) & (numbers > above)
    reject(name, numbers, ~is_good, f"expected {expectation}")


def numbers_of(tree: Any, dtype: Any) -> Any:
    """Make the numbers of a law or profile arrays; a list is one array, not many numbers."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf).astype(dtype),
        tree,
        is_leaf=lambda leaf: isinstance(leaf, list | tuple),
    )


def arriving(reqs: Lengths, arrival_s: jax.Array, **fields: Any) -> Requests:
    """Give requests other times, infinite for padding, and perhaps other fields."""
    with jax.enable_x64(True):
        arrival_s = jnp.where(reqs.is_real, arrival_s, jnp.inf)
    if isinstance(reqs, Requests):
        return dataclasses.replace(reqs, arrival_s=arrival_s, **fields)
    return Requests(
        arrival_s=arrival_s,
        prompt_tokens=reqs.prompt_tokens,
        output_tokens=reqs.output_tokens,
        is_real=reqs.is_real,
        **fields,
    )
