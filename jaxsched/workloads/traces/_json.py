"""Tables of JSON: a record a line, an array of records, indented records, records of lists."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ijson

from jaxsched._lib.errors import shown
from jaxsched.workloads.traces._table import Row, Rows, Table

_PEEKED = 100  # records, whose names together are the columns
_DEEPEST = 3  # dots in a name
_MOST_OPEN = 1_000_000  # brackets that are not closed: no record is nested like that

Record = dict[str, Any]


def json_lines(lines: Iterator[str]) -> Table:
    """Read records that take a line each."""
    return _tabulated(_line_records(lines), "line")


def json_values(text: Any, is_array: bool) -> Table:
    """Read records of any layout, one at a time."""
    return _tabulated(_records(text, is_array), "record")


def _line_records(lines: Iterator[str]) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_unique if number <= _PEEKED else None)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not JSON: {error}") from error
        yield number, _record("line", number, value)


def _unique(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {shown(twice)} stands there twice")
    return record


def _records(text: Any, is_array: bool) -> Iterator[tuple[int, Record]]:
    reader = _Utf8(text)
    values = ijson.items(
        reader, "item" if is_array else "", multiple_values=not is_array, use_float=True
    )
    number = 0
    while True:
        try:
            value = next(values)
        except StopIteration:
            return
        except (ijson.JSONError, UnicodeEncodeError) as error:
            raise ValueError(f"record {number + 1} is not JSON: {error}") from error
        reader.forget_open()
        number += 1
        yield number, _record("record", number, value)


class _Utf8:
    """A text as the bytes that ijson takes, refused where it only opens brackets."""

    def __init__(self, text: Any):
        self._text, self._open = text, 0

    def read(self, size: int) -> bytes:
        part = self._text.read(size)
        self._open += part.count("[") + part.count("{") - part.count("]") - part.count("}")
        if self._open > _MOST_OPEN:
            raise ValueError("is nested too deeply to hold requests")
        return part.encode()

    def forget_open(self) -> None:
        self._open = 0


def _record(place: str, number: int, value: Any) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"{place} {number} is {shown(value)}; expected a JSON object")
    return value


def _tabulated(records: Iterator[tuple[int, Record]], place: str) -> Table:
    first = list(itertools.islice(records, _PEEKED))
    columns = list(dict.fromkeys(name for _, record in first for name in _names(record)))

    def rows(wanted: Sequence[int]) -> Rows:
        names = [columns[each] for each in wanted]
        getters = [_getter(name) for name in names]
        holds_lists = any(isinstance(getters[0](record), list) for _, record in first)

        def each() -> Iterator[Row]:
            for number, record in itertools.chain(first, records):
                cells = [get(record) for get in getters]
                if None in cells[:2] and record.get("error"):  # it failed, so it has no lengths
                    cells[:2] = (0 if cell is None else cell for cell in cells[:2])
                yield number, cells

        if holds_lists:
            return Rows("entry", enumerate(_entries(place, each(), names), start=1))
        return Rows(place, each())

    return Table(columns, rows)


def _names(record: Record, prefix: str = "", depth: int = _DEEPEST) -> Iterator[str]:
    for name, value in record.items():
        yield prefix + name
        if depth > 1 and isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.", depth - 1)


def _getter(name: str) -> Callable[[Record], Any]:
    path = name.split(".")
    if len(path) == 1:
        return lambda record: record.get(name)

    def get(record: Any) -> Any:
        if name in record:
            return record[name]
        for part in path:
            record = record.get(part) if isinstance(record, dict) else None
        return record

    return get


def _entries(place: str, rows: Iterator[Row], names: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Take the lists of benchmarks' results apart: an entry a request."""
    for number, cells in rows:
        lengths = [len(cell) if isinstance(cell, list) else None for cell in cells]
        for name, length in zip(names, lengths, strict=True):
            if length is None or length != lengths[0]:
                found = "is no list" if length is None else f"has {length} entries"
                raise ValueError(
                    f"{place} {number}: {name} {found}; expected a list as long as {names[0]}"
                )
        yield from zip(*cells, strict=True)
