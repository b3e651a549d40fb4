"""The rows of a text table, numbered by line: comma-separated or JSON lines, plain or gzip."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: The line of the file, the first being 1, and the cells it holds.
Row = tuple[int, Sequence[Any]]

_GZIP_MAGIC = b"\x1f\x8b"


def rows(path: Path) -> Iterator[Row]:
    """Give the names of the columns, then row after row with one cell for each of them.

    Blank lines are skipped; a JSON object that lacks a name gives None there.

    Raises:
      ValueError: the content cannot be read as such a table, naming the line.
      OSError: the file cannot be opened.
    """
    text = _text(path)
    return _json_rows(text) if text.lstrip().startswith("{") else _csv_rows(text)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise ValueError("neither UTF-8 text nor an intact gzip of it") from error


def _csv_rows(text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    width = 0
    try:
        for row in reader:
            if not row:
                continue
            width = width or len(row)
            if len(row) != width:
                raise ValueError(f"line {reader.line_num} has {len(row)} fields; expected {width}")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is not comma-separated: {error}") from error


def _json_rows(text: str) -> Iterator[Row]:
    columns: list[str] = []
    for line, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        try:
            record = json.loads(row)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {line} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"line {line} is {record!r:.40}; expected a JSON object")
        if not columns:
            columns = list(record)
            yield line, columns
        yield line, [record.get(name) for name in columns]
