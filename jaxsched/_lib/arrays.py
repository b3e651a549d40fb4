"""One formula for two modules: numpy for numbers on a CPU, ``jax.numpy`` for all else.

Numpy sorts several times faster than what XLA makes for a CPU; a trace or an accelerator has jax
only. Formulas take the module from their arrays, and only what the two spell differently is here.
"""

from __future__ import annotations

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


def in_jax(*trees: Any) -> bool:
    """Whether jax computes with these: inside a trace, or where the device is an accelerator."""
    return is_traced(*trees) or not is_cpu(local_devices())


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


def masked(values: Any, counts: Any, filler: Any) -> Any:
    """Put ``filler`` where values do not count; numpy copies nothing where all of them do."""
    if namespace(values) is jnp:
        return jnp.where(counts, values, filler)
    return values if np.all(counts) else np.where(counts, values, filler)


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
    row = np.arange(len(ascending))[:, None]
    apart = row << 32  # rows laid end to end stay ascending, for one search over all of them
    below = np.searchsorted((ascending + apart).ravel(), (values + apart).ravel())
    return below.reshape(values.shape) - row * ascending.shape[-1]
