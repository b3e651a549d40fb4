"""One formula for two modules: numpy for numbers on a CPU, ``jax.numpy`` for all else.

Numpy sorts several times faster than what XLA makes for a CPU; a trace or an accelerator has jax
only. Formulas take the module from their arrays, and only what the two spell differently is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxsched._lib.devices import is_cpu, local_devices


def is_traced(*trees: Any) -> bool:
    """Whether a leaf is a tracer, whose numbers nobody knows yet."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def is_spread(*trees: Any) -> bool:
    """Whether an array lies on several devices, traced ones aside."""
    arrays = (leaf for leaf in jax.tree.leaves(trees) if isinstance(leaf, jax.Array))
    numbers = (array for array in arrays if not isinstance(array, Tracer))
    return any(len(array.sharding.device_set) > 1 for array in numbers)


def is_resident(*trees: Any) -> bool:
    """Whether what is computed of these numbers should stay on devices."""
    return is_spread(*trees) or not is_cpu(local_devices())


def in_jax(*trees: Any) -> bool:
    """Whether jax computes with these: inside a trace, on accelerators, on several devices."""
    return is_traced(*trees) or is_resident(*trees)


def namespace(array: Any) -> Any:
    """Return the module of an array's functions, ``numpy`` or ``jax.numpy``."""
    return np if isinstance(array, (np.ndarray, np.generic)) else jnp


def on_host(tree: Any) -> Any:
    """Read all leaves as numpy arrays."""
    return jax.tree.map(np.asarray, tree)


def refuse_traced(reason: str, remedy: str, *trees: Any) -> None:
    """Raise for a tracer where values are looked at, in a sentence with the remedy."""
    if is_traced(*trees):
        raise TypeError(f"{reason} and cannot run inside jit or vmap; {remedy}")


def filled(leaf: Any, rows: int) -> Any:
    """Repeat the last instance until there are ``rows`` of them."""
    xp, missing = namespace(leaf), rows - leaf.shape[0]
    return xp.concatenate([leaf, xp.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf


def masked(values: Any, counts: Any, filler: Any) -> Any:
    """Put ``filler`` where values do not count; numpy copies nothing where all of them do."""
    if namespace(values) is jnp:
        return jnp.where(counts, values, filler)
    return values if counts.all() else np.where(counts, values, filler)


def sorted_in_place(values: Any) -> Any:
    """Sort an array that nobody else needs along its last axis; numpy copies nothing."""
    if namespace(values) is jnp:
        return jnp.sort(values, axis=-1)
    values.sort(axis=-1)
    return values


def running_max(values: Any) -> Any:
    """Largest entry so far along the last axis."""
    if namespace(values) is jnp:
        return lax.cummax(values, axis=values.ndim - 1)
    return np.maximum.accumulate(values, axis=-1)


def count_below(ascending: Any, values: Any) -> Any:
    """Count in its row ``[rows, m]`` how many lie below each value, int64 ``[rows, q]``.

    Args:
      ascending: int64 ``[rows, m]``, from 0 to ``2^31 - 1``.
      values: int64 ``[rows, q]``, likewise.
    """
    if namespace(ascending) is jnp:
        return jax.vmap(jnp.searchsorted)(ascending, values).astype(jnp.int64)
    # Sorted together, and values first among equals; a search of its own for each takes longer.
    num_bits, num_values = values.shape[-1].bit_length(), values.shape[-1]
    place = np.arange(num_values)
    packed = [values << num_bits | place, ascending << num_bits | num_values]
    together = sorted_in_place(np.concatenate(packed, axis=-1)) & ((1 << num_bits) - 1)
    is_value = together < num_values
    below = np.empty(values.shape, np.int64)
    flat = (together + np.arange(len(values))[:, None] * num_values)[is_value]
    below.reshape(-1)[flat] = np.cumsum(~is_value, axis=-1, dtype=np.int64)[is_value]
    return below


def take_in_rows(index: Any) -> Callable[[Any], Any]:
    """Make the function that takes from arrays ``[rows, m]`` what is at ``index`` ``[rows, q]``."""
    if namespace(index) is jnp:
        return lambda values: jnp.take_along_axis(values, index, axis=-1)
    row = np.arange(len(index))[:, None]  # numpy takes from one row several times as quickly
    return lambda values: values.reshape(-1)[row * values.shape[-1] + index]
