"""The one way this package makes a pytree type."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar, dataclass_transform

import jax
from jax import export

T = TypeVar("T")


def static(**options: Any) -> Any:
    """Make a field that is part of the structure of a pytree: a shape, a name, a function.

    Args:
      options: those of ``dataclasses.field``, such as ``default``.
    """
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(
    frozen_default=True, eq_default=False, field_specifiers=(static, dataclasses.field)
)
def pytree(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass whose fields are the leaves of a pytree, or :func:`static`.

    Compared by identity, since arrays have no single truth value. ``replace(**changes)`` of an
    instance is ``dataclasses.replace``.

    Example:
      >>> import jax
      >>> from jaxsched._lib.pytree import pytree, static
      >>> @pytree
      ... class Line:
      ...     slope: float
      ...     name: str = static(default="")
      >>> line = Line(slope=2.0, name="steep")
      >>> jax.tree.map(lambda leaf: leaf + 1, line)
      Line(slope=3.0, name='steep')
    """
    made: Any = dataclasses.dataclass(frozen=True, eq=False)(cls)
    made.replace = _replace
    return jax.tree_util.register_dataclass(made)


def exported(cls: type[T]) -> type[T]:
    """Let ``jax.export`` write programs to disk that take or return this type of pytree.

    What is static becomes JSON. Whoever reads such a program imports this package first.
    """
    return export.register_pytree_node_serialization(
        cls,
        serialized_name=f"jaxsched.{cls.__name__}",
        serialize_auxdata=lambda statics: json.dumps(statics).encode(),
        deserialize_auxdata=lambda text: _hashable(json.loads(text)),
    )


def _hashable(value: Any) -> Any:
    """Make the lists of JSON tuples again, as static fields are compared by hash."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _replace(self: Any, **changes: Any) -> Any:
    """Copy with other values in some fields."""
    return dataclasses.replace(self, **changes)
