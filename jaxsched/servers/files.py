"""Servers in files: a fitted clock, the KV capacity, and where they come from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxsched._lib.errors import InputError, in_file, integer, shown
from jaxsched._lib.writing import write_whole
from jaxsched.model.clock import COEFFICIENTS, FittedBox, LinearClock
from jaxsched.model.server import Server

_KIND = "jaxsched server"
_MOST_BYTES = 2**20


def save(
    path: str | os.PathLike[str],
    clock: LinearClock,
    kv_capacity: int | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Keep a clock, and perhaps a KV capacity, in a JSON file that ``--server`` takes.

    Args:
      path: a file that ends in ``.json``.
      clock: its coefficients and the box it was fitted in.
      kv_capacity: tokens the cache holds; None leaves it to whoever loads the file.
      about: more to keep, such as the errors of the fit; not read again.

    Raises:
      ValueError: the name does not end in ``.json``.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "mine.json")
      ...     js.servers.save(path, js.clock.LinearClock(6.0, 0.02, 0.01, 4e-5, 0.0), 100_000)
      ...     js.servers.get(path).clock.iteration_ms
      6.0
    """
    if Path(path).suffix != ".json":
        raise InputError("path", str(path), "expected a name that ends in .json")
    content = {
        "kind": _KIND,
        "kv_capacity": None if kv_capacity is None else integer("kv_capacity", kv_capacity),
        "clock": {name: float(getattr(clock, name)) for name in COEFFICIENTS},
        "box": None if clock.box is None else clock.box._asdict(),
        "about": dict(about or {}),
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_whole(Path(path), lambda partial: partial.write_text(text, encoding="utf-8"))


def load(path: str | os.PathLike[str], kv_capacity: int | None = None) -> Server:
    """Load a server from a file that :func:`save` or ``jaxsched calibrate`` wrote.

    Args:
      path: the file.
      kv_capacity: tokens the cache holds; None for those of the file.

    Returns:
      The :class:`~jaxsched.Server`, with vLLM's default settings. Its ``kv_capacity`` is None
      where neither says it, to be given by ``server.replace(kv_capacity=..)``.

    Raises:
      ValueError: the file holds no server, or a number of it is out of range.
      OSError: it cannot be read.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "mine.json")
      ...     js.servers.save(path, js.clock.LinearClock(6.0, 0.02, 0.01, 4e-5, 0.0))
      ...     js.servers.load(path, kv_capacity=100_000).kv_capacity
      100000
    """
    with in_file(path):
        content = _content(path)
        clock = LinearClock(
            *_numbers(content, "clock", COEFFICIENTS),
            box=None
            if content.get("box") is None
            else FittedBox(*_numbers(content, "box", FittedBox._fields)),
        )
        if kv_capacity is None and content.get("kv_capacity") is not None:
            kv_capacity = integer("kv_capacity", content["kv_capacity"])
    return Server(kv_capacity=kv_capacity, clock=clock)


def _content(path: str | os.PathLike[str]) -> dict[str, Any]:
    with Path(path).open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    try:
        content = json.loads(raw) if len(raw) <= _MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise ValueError(
            f'is no server: "kind": "{_KIND}" is missing; jaxsched calibrate writes one'
        )
    return content


def _numbers(content: dict[str, Any], part: str, names: tuple[str, ...]) -> list[float]:
    values = content.get(part)
    if not isinstance(values, dict) or set(values) != set(names):
        raise InputError(part, values, f"expected {', '.join(names)}")
    for name in names:
        value = values[name]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 <= value < math.inf:
            raise ValueError(
                f"{name} of the {part} is {shown(value)}; expected a finite number >= 0"
            )
    return [float(values[name]) for name in names]
