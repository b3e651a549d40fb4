"""The one way this package makes a pytree type."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


def static(**settings: Any) -> Any:
    """Make a field that is no leaf: a choice that a program is compiled for.

    Args:
      settings: those of :func:`dataclasses.field`, such as ``default``.
    """
    return dataclasses.field(metadata={"static": True}, **settings)


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def pytree(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass whose fields are the leaves of a pytree, but for static ones.

    Compared by identity, since arrays have no single truth value. ``value.replace(field=..)``
    makes a copy with other fields.
    """
    made: Any = dataclasses.dataclass(frozen=True, eq=False)(cls)
    made.replace = _replace
    return jax.tree_util.register_dataclass(made)


def _replace(self: Any, **changes: Any) -> Any:
    """Make a copy with other fields."""
    return dataclasses.replace(self, **changes)
