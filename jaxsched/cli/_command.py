"""From a function to a command: objects in its signature become options."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxsched as js
from jaxsched.cli._given import flags_of, note
from jaxsched.cli._interrupts import ended_at_once


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command; the library is loaded when it runs.

    A parameter whose type is a dataclass stands for the fields of that class, each an option, so
    that commands share options as they share the object. All parameters are given by name.
    """
    signature = inspect.signature(function, eval_str=True)
    objects: dict[str, Any] = {
        each.name: each.annotation
        for each in signature.parameters.values()
        if dataclasses.is_dataclass(each.annotation)
    }
    parameters = []
    for each in signature.parameters.values():
        parameters += _fields(each.annotation) if each.name in objects else [each]

    flags = flags_of(parameters)

    def run(**values: Any) -> None:
        note(flags, values)
        for name, kind in objects.items():
            fields = [field.name for field in dataclasses.fields(kind)]
            values[name] = kind(**{field: values.pop(field) for field in fields})
        _load()
        from jaxsched._lib.progress import compiling_line

        with compiling_line():
            function(**values)

    by_name = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(by_name)  # pyright: ignore[reportFunctionMemberAccess]
    return run


def _fields(kind: Any) -> list[inspect.Parameter]:
    """Make the fields of a dataclass parameters."""
    types = typing.get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=types[field.name],
        )
        for field in dataclasses.fields(kind)
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    is_required = field.default is dataclasses.MISSING
    return inspect.Parameter.empty if is_required else field.default


def _load() -> None:
    """Load the library, and have jax keep what it compiles in the user's cache folder."""
    with ended_at_once():
        import jax
        import platformdirs

        for name in js.__all__:
            getattr(js, name)
    config: Any = jax.config  # whose flags type checkers do not know
    if config.jax_compilation_cache_dir is None:
        folder = platformdirs.user_cache_path("jaxsched") / "xla"
        config.update("jax_compilation_cache_dir", str(folder))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        config.update("jax_persistent_cache_min_entry_size_bytes", -1)
