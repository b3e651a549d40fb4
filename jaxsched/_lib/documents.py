"""JSON and TOML files, held to a schema; what is wrong is one line that names file and field."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jaxsched._lib.errors import InputError, bounded, in_file, shown
from jaxsched._lib.streams import require_regular

# Bytes; what people write by hand is far smaller, and so is what this package writes.
_LARGEST_JSON, _LARGEST_TOML = 2**26, 2**20
_LONGEST_REASON = 300
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
_DEEPEST = 8


class Schema(Protocol):
    """What a value has to be."""

    def check(self, value: Any, field: str) -> None:
        """Raise an :class:`InputError` about ``field`` unless the value is that."""
        ...


@dataclasses.dataclass(frozen=True)
class Value:
    """One value.

    Attributes:
      expected: what it has to be, in words.
      is_right: whether a value is that.
    """

    expected: str
    is_right: Callable[[Any], bool]

    def check(self, value: Any, field: str) -> None:
        """Raise unless the value is right."""
        if not self.is_right(value):
            raise InputError(field, value, f"expected {self.expected}")


@dataclasses.dataclass(frozen=True)
class Rows:
    """A list of values that are all alike."""

    of: Schema

    def check(self, value: Any, field: str) -> None:
        """Raise unless it is a list whose entries are right."""
        if not isinstance(value, list):
            raise InputError(field, value, "expected a list")
        for place, each in enumerate(value):
            self.of.check(each, f"{field}[{place}]")


@dataclasses.dataclass(frozen=True)
class Fields:
    """A table of named values.

    Attributes:
      required: those that have to be there.
      optional: those that may be.
      others: what fields of any other names have to be; None where there may be none.
    """

    required: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    optional: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    others: Schema | None = None

    def check(self, value: Any, field: str) -> None:
        """Raise unless it is a table whose fields are there and right."""
        if not isinstance(value, dict):
            raise InputError(field or "the content", value, "expected a table of named values")
        known = {**self.required, **self.optional}
        for name in self.required:
            if name not in value:
                what = f"{field} lacks" if field else "lacks"
                raise ValueError(f"{what} {name!r}; expected {', '.join(self.required)}")
        for name, each in value.items():
            schema = known.get(name, self.others)
            inner = f"{field}.{_name(name)}".lstrip(".")
            if schema is None:
                expectation = f"expected only {', '.join(known)}"
                raise InputError(inner, name, expectation, finding="is no field")
            schema.check(each, inner)


def _name(name: Any) -> str:
    is_plain = isinstance(name, str) and name.isascii() and name.isprintable()
    return bounded(name) if is_plain else shown(name)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that is no truth value."""
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_one and abs(value) <= sys.float_info.max  # also of integers without end


def _are_float32(value: Any, depth: int = 2) -> bool:
    if isinstance(value, list):
        return depth > 0 and all(_are_float32(each, depth - 1) for each in value)
    return is_number(value) and abs(value) <= _LARGEST_FLOAT32


def _is_plain(value: Any, depth: int = _DEEPEST) -> bool:
    if isinstance(value, (list, dict)):
        inner = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(each, depth - 1) for each in inner)
    return True


TEXT = Value("text", lambda value: isinstance(value, str))
NUMBER = Value("a finite number", is_number)
FLOATS = Value("finite numbers of 32 bits, in lists of one or two levels", _are_float32)
PLAIN = Value(f"at most {_DEEPEST} levels of lists and tables", _is_plain)


def read_json(path: str | os.PathLike[str], schema: Schema) -> Any:
    """Read a JSON file.

    Args:
      path: the file.
      schema: what its content has to be.

    Raises:
      ValueError: the file is no JSON, or its content something else. The message names file and
        field.
      OSError: it cannot be opened.
    """
    return _read(path, _json, _LARGEST_JSON, "JSON", schema)


def read_toml(path: str | os.PathLike[str], schema: Schema) -> Any:
    """Read a TOML file; see :func:`read_json`."""
    return _read(path, tomllib.loads, _LARGEST_TOML, "TOML", schema)


def parse_json(text: str, field: str = "") -> Any:
    """Parse JSON in which no table has a field twice; raise about ``field`` where it is none."""
    return _parsed(text, _json, f"{field} is not JSON".lstrip())


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_doubles)


def _parsed(text: Any, parse: Callable[[Any], Any], finding: str) -> Any:
    try:
        return parse(text)
    except RecursionError:
        raise ValueError(f"{finding}: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{finding}: {bounded(str(error), _LONGEST_REASON)}") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"{shown(twice)} stands there twice")
    return table


def _read(
    path: str | os.PathLike[str],
    parse: Callable[[str], Any],
    largest: int,
    form: str,
    schema: Schema,
) -> Any:
    path = Path(path)
    with in_file(path):
        require_regular(path)
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            raise ValueError(f"has over {largest} bytes, more than any file of its kind")
        content = _parsed(data, lambda data: parse(_text(data)), f"is not {form}")
        schema.check(content, "")
    return content


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig").replace("\r\n", "\n")
