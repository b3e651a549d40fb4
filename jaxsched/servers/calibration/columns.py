"""Columns of numbers, by the names that people give them."""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from jaxsched._lib.errors import InputError, shown


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open text, also of a gzip file; bytes that are none become question marks.

    Raises:
      ValueError: the gzip file is damaged.
    """
    with Path(path).open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    kind: Any = gzip.open if is_gzip else open
    with kind(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as text:
        try:
            yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"is a damaged gzip file: {error}") from error


def read_csv(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the columns of a CSV that hold numbers alone; others are passed over.

    Raises:
      ValueError: the file is no table, or rows are not as wide as the header.
    """
    with opened(path) as file:
        try:
            rows = [row for row in csv.reader(file) if any(map(str.strip, row))]
        except csv.Error as error:
            raise ValueError(f"is no CSV: {error}") from error
    if len(rows) < 2:
        raise ValueError("has no rows below a header")
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} fields; expected {len(header)}")
    repeated = [name for place, name in enumerate(header) if name in header[:place]]
    if repeated:
        raise ValueError(f"has the column {shown(repeated[0])} twice; rename one")
    columns = {}
    for name, *texts in zip(header, *rows[1:], strict=True):
        try:
            columns[name] = np.array(texts, np.float64)
        except ValueError:
            columns[name] = np.array(texts)
    return columns


def resolved(
    columns: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Find columns by their names or those of others, finite numbers >= 0, as float64.

    Raises:
      InputError: a column is there by two names, or holds something else.
    """
    found = {}
    for name, aliases in names.items():
        present = [each for each in columns if _plain(str(each)) in (name, *aliases)]
        if len(present) > 1:
            raise InputError(
                "columns", present, "leave one", finding=f"hold {name} as {' and '.join(present)}"
            )
        if present:
            found[name] = _numbers(present[0], columns[present[0]])
    return found


def _numbers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError):
        bad = next(place for place, each in enumerate(array) if not _is_number(each))
        value = array[bad].item() if isinstance(array[bad], np.generic) else array[bad]
        raise InputError(name, value, "expected a number", (bad,)) from None
    is_bad = ~(np.isfinite(numbers) & (numbers >= 0))
    if is_bad.any():
        row = int(np.argmax(is_bad))
        raise InputError(name, numbers[row], "expected a finite number >= 0", (row,))
    return numbers


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_").lstrip("_")
