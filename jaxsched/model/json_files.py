"""Requests as JSON: an object with a line for each field, nested by leading axes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import numpy as np

from jaxsched._lib.errors import index_text, shown
from jaxsched.model.cells import NOT_PARSED, column, parser, values_of

_KIND = "jaxsched_kind"


def written_json(kind: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Write fields as text; what is infinite becomes ``"inf"``, since JSON has no such number."""
    lines = [f"  {json.dumps(_KIND)}: {json.dumps(kind)}"]
    for name, array in arrays.items():
        finite = [
            str(number) if isinstance(number, float) and not math.isfinite(number) else number
            for number in values_of(name, array)
        ]
        nested = _nested(iter(finite), array.shape)
        lines.append(f"  {json.dumps(name)}: {json.dumps(nested, allow_nan=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_json(
    file: TextIO, kind: str, fields: Mapping[str, str], optional: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Read what :func:`written_json` wrote; without ``is_real`` all requests are.

    Returns:
      The fields, and the line where each begins.

    Raises:
      ValueError: the file is no JSON object, of another kind, has other fields, or a value is not
        what its field holds. The message names line, field and position.
    """
    text = file.read()
    try:
        record = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"is {shown(record)}; expected a JSON object with fields of {kind}")
    held = record.pop(_KIND, kind)
    if held != kind:
        raise ValueError(f"holds {shown(held)}, expected {kind}")
    kinds, lines = {**fields, **optional}, _lines_of(text, record)
    for name in record:
        if name not in kinds:
            raise ValueError(f"line {lines[name]}: {kind} has no field {shown(name)}")
    arrays = {}
    for name, of_name in kinds.items():
        if name in record:
            arrays[name] = _array(f"line {lines[name]}: {name}", name, of_name, record[name])
        elif name in fields and name != "is_real":
            raise ValueError(f"lacks the field {name!r} of {kind}")
    if "is_real" not in arrays:
        arrays["is_real"] = np.ones(arrays["prompt_tokens"].shape, bool)
    return arrays, lines


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {shown(twice)} stands there twice")
    return record


def _lines_of(text: str, names: Mapping[str, Any]) -> dict[str, int]:
    """Find the line of each field, the first where they cannot be told."""
    found = dict.fromkeys(names, 1)
    for number, line in enumerate(text.splitlines(), start=1):
        start = line.split(":", 1)[0].strip().removeprefix("{").strip().strip('"')
        if start in found:
            found[start] = number
    return found


def _nested(numbers: Iterator[Any], shape: tuple[int, ...]) -> Any:
    if not shape:
        return next(numbers)
    return [_nested(numbers, shape[1:]) for _ in range(shape[0])]


def _array(where: str, name: str, kinds: str, value: Any) -> np.ndarray:
    """Make an array of a value that may be nested, with the shape of its first entries."""
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    parse, expectation = parser(kinds)
    numbers: list[Any] = []

    def collect(value: Any, position: tuple[int, ...]) -> None:
        at = f"{where}[{index_text(position)}]" if position else where
        if len(position) == len(shape):
            try:
                numbers.append(parse(value))
            except NOT_PARSED as error:
                raise ValueError(f"{at} is {shown(value)}; {expectation}") from error
            return
        if not isinstance(value, list) or len(value) != shape[len(position)]:
            raise ValueError(f"{at} is ragged; expected a list of {shape[len(position)]}")
        for place, entry in enumerate(value):
            collect(entry, (*position, place))

    collect(value, ())
    return column(name, kinds, numbers, tuple(shape))
