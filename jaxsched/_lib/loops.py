"""Loops of ``lax`` for programs that also run under ``jax.shard_map`` with its default checks.

There jax keeps account of the mesh axes over which a value may differ between devices, and what a
loop carries must vary over the same axes before and after a turn. Most loops here begin with zeros,
which vary over none. In these loops everything carried varies as the program's own arguments do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax

T = TypeVar("T")

_axes: ContextVar[frozenset[str]] = ContextVar("axes", default=frozenset())


@contextmanager
def varying_like(arguments: Any) -> Iterator[None]:
    """Have loops that are traced inside carry what varies as ``arguments`` do, all together."""
    token = _axes.set(frozenset().union(*map(_axes_of, jax.tree.leaves(arguments))))
    try:
        yield
    finally:
        _axes.reset(token)


def while_loop(is_left: Callable[[T], jax.Array], turn: Callable[[T], T], start: T) -> T:
    """``lax.while_loop``."""
    return lax.while_loop(is_left, lambda carry: varying(turn(carry)), varying(start))


def fori_loop(begin: Any, end: Any, turn: Callable[[jax.Array, T], T], start: T) -> T:
    """``lax.fori_loop``."""
    return lax.fori_loop(
        begin, end, lambda index, carry: varying(turn(index, carry)), varying(start)
    )


def repeat(xp: Any, times: int, turn: Callable[[Any, T], T], start: T) -> T:
    """Loop of a formula for two modules: Python's for ``numpy``, :func:`fori_loop` for ``jax``."""
    if xp is not np:
        return fori_loop(0, times, turn, start)
    for index in range(times):
        start = turn(index, start)
    return start


def varying(tree: T) -> T:
    """Have numbers vary as the program's arguments do, such as those that a branch returns."""
    axes = _axes.get()
    if not axes:
        return tree

    def leaf(value: jax.Array) -> jax.Array:
        missing = tuple(axes - _axes_of(value))
        return lax.pcast(value, missing, to="varying") if missing else value

    return jax.tree.map(leaf, tree)


def _axes_of(value: Any) -> frozenset[str]:
    """Mesh axes over which a value may vary; releases of jax differ in what they call them."""
    kind = jax.typeof(value)
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma
