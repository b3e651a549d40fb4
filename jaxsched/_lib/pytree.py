"""The one way this package makes a pytree type."""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

import chex

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def pytree(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass whose fields are the leaves of a pytree.

    A plain class rather than a mapping, so that ``len`` and ``in`` keep no surprising meaning;
    compared by identity, since arrays have no single truth value.
    """
    make: Any = chex.dataclass  # its own annotations do not reach type checkers
    return make(cls, frozen=True, eq=False, mappable_dataclass=False)
