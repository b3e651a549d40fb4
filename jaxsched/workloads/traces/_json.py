"""Tables of JSON: a record a line, an array of records, indented records, records of lists."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ijson
import numpy as np

from jaxsched._lib.errors import shown
from jaxsched.workloads.traces._errors import reason
from jaxsched.workloads.traces._formats import plain
from jaxsched.workloads.traces._table import Row, Rows, Table

_PEEKED = 100  # records, whose names together are the columns
_DEEPEST = 3  # dots in a name
_DEEPEST_VALUE = 500  # brackets
_LONGEST_VALUE = 2**22  # characters
_READ = 2**16  # characters
_BETWEEN_VALUES = re.compile(r"[\s,:\[\]{}]")
_DEPTHS = np.zeros(256, np.int64)  # by which a letter deepens
_DEPTHS[[*b"[{"]], _DEPTHS[[*b"]}"]] = 1, -1
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)

Record = dict[str, Any]


def json_lines(lines: Iterator[str]) -> Table:
    """Read records that take a line each."""
    return _tabulated(_line_records(lines), "line")


def json_values(text: Any, where: str) -> Table:
    """Read records of any layout, one at a time.

    Args:
      text: an open file.
      where: the records are, as ijson puts it: ``"item"`` in an array; nothing one after another.
    """
    return _tabulated(_records(text, where), "record")


def _line_records(lines: Iterator[str]) -> Iterator[tuple[int, Record]]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = decoder.decode(line.strip())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not JSON: {reason(error)}") from error
        yield number, _record("line", number, value)


def _unique(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(_there_twice(name))
            seen.add(name)
    return record


def _there_twice(name: str) -> str:
    return f"the name {shown(name)} stands there twice"


def _records(text: Any, where: str) -> Iterator[tuple[int, Record]]:
    twice: list[str] = []

    class Noting(Record):  # an error raised in here would be lost in ijson
        def __setitem__(self, name: str, value: Any) -> None:
            if name in self:
                twice.append(name)
            super().__setitem__(name, value)

    values = ijson.items(
        *(_Utf8(text), where),
        multiple_values=where != "item",
        use_float=True,
        buf_size=_READ,
        map_type=Noting,
    )
    number = 0
    while True:
        try:
            value = next(values)
        except StopIteration:
            return
        except (ijson.JSONError, UnicodeEncodeError) as error:
            raise ValueError(f"record {number + 1} is not JSON: {reason(error)}") from error
        number += 1
        if twice:
            raise ValueError(f"record {number} is unclear: {_there_twice(twice[0])}")
        yield number, _record("record", number, value)


class _Utf8:
    """A text as the bytes that ijson takes, refused where it is nested deeply or has no end.

    What ijson holds grows with the square of the depth, and its time with that of a value that
    goes on through many parts.
    """

    def __init__(self, text: Any):
        self._text = text
        self._depth = self._value = 0
        self._begun = ""  # a string that goes on in the next part

    def read(self, size: int) -> bytes:
        part = self._text.read(size)
        given = self._begun + part
        is_escaping = (len(given) - len(given.rstrip("\\"))) % 2 == 1
        # Closed here, a string that goes on is cut like any other; where none does, the quote is
        # left over.
        outside = _STRING.sub("", given[: len(given) - is_escaping] + '"')
        self._begun = "" if outside.endswith('"') else '"' + "\\" * is_escaping
        letters = np.frombuffer(outside.encode("utf-8", "replace"), np.uint8)
        depth = self._depth + np.cumsum(_DEPTHS[letters])
        if depth.max(initial=0) > _DEEPEST_VALUE:
            raise ValueError("is nested too deeply to hold requests")
        self._depth = int(depth[-1]) if depth.size else self._depth
        self._value = 0 if _BETWEEN_VALUES.search(outside) else self._value + len(part)
        if self._value > _LONGEST_VALUE:
            raise ValueError(f"holds a text or number of more than {_LONGEST_VALUE} characters")
        return part.encode()


def _record(place: str, number: int, value: Any) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"{place} {number} is {shown(value)}; expected a JSON object")
    return value


def _tabulated(records: Iterator[tuple[int, Record]], place: str) -> Table:
    first = list(itertools.islice(records, _PEEKED))
    columns = list(dict.fromkeys(name for _, record in first for name in _names(record)))

    def rows(wanted: Sequence[int], absent: str) -> Rows:
        names = [columns[each] for each in wanted]
        getters = [_getter(name) for name in names]
        holds_lists = any(isinstance(getters[0](record), list) for _, record in first)

        def each() -> Iterator[Row]:
            for number, record in itertools.chain(first, records):
                if absent:
                    _require_absent(absent, record, f"{place} {number}")
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


def _require_absent(wanted: str, record: Record, where: str) -> None:
    for name in _names(record):
        if plain(name) == plain(wanted):
            raise ValueError(
                f"{where} has {shown(name)}, which none of the first {_PEEKED} records has; put "
                "one that has it first, or leave those out"
            )


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
                is_first = lengths[0] is None
                size = "with an entry a request" if is_first else f"as long as {names[0]}"
                raise ValueError(f"{place} {number}: {name} {found}; expected a list {size}")
        yield from zip(*cells, strict=True)
