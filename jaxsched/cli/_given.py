"""Which files the command that runs was given to read."""

from __future__ import annotations

import contextvars
import inspect
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo

_FILE = "file:"  # before the file of a rule

_given: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("given")


def flags_of(parameters: Collection[inspect.Parameter]) -> dict[str, str]:
    """Map parameters to their options, or to the names of their arguments without a suffix."""
    flags = {}
    for each in parameters:
        (about, *_) = getattr(each.annotation, "__metadata__", (None,))
        if isinstance(about, ArgumentInfo):
            flags[each.name] = Path(about.metavar or each.name).stem
        else:  # typer takes the first name for a default until it builds the command
            names = (getattr(about, "default", None), *(getattr(about, "param_decls", None) or ()))
            flag = next((name for name in names if isinstance(name, str)), None)
            flags[each.name] = flag or f"--{each.name}"
    return flags


def note(flags: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Remember what the command was given."""
    _given.set({flags[name]: value for name, value in values.items() if name in flags})


def files_to_read(outputs: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Give the files that are there, with their options, of all options but ``outputs``."""
    for flag, value in _given.get({}).items():
        if flag not in outputs:
            for path in _paths(value):
                if path.is_file():
                    yield flag, path


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, str):  # which may be names of rules or of a server, beside files
        for text in value.split(","):
            path = Path(text.strip().removeprefix(_FILE))
            if path.suffix or os.sep in text:
                yield path
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _paths(each)
