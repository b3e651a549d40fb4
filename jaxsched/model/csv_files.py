"""Requests as CSV: one row a request, and what belongs to an instance on each of its rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import numpy as np

from jaxsched._lib.errors import InputError, shown
from jaxsched._lib.names import did_you_mean, nearest
from jaxsched.model.cells import NOT_PARSED, column, parser, values_of
from jaxsched.model.checks import FILLERS

_GROUP = {"Instance": "instance", "Requests": "stream"}


def written_csv(kind: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Write fields ``[.., n]``, and ``[..]`` of whole instances, as text.

    Padding is left out where reading adds it again, and else told by a column ``is_real``.

    Raises:
      ValueError: there are several leading axes.
    """
    is_real = arrays["is_real"]
    if is_real.ndim > 2:
        expectation = "expected one at most; save to .json or .npz, or flatten them"
        finding = f"has the leading axes {is_real.shape[:-1]}"
        raise InputError("is_real", "", expectation, finding=finding)
    columns = {}
    if is_real.ndim == 2:
        columns[_GROUP[kind]] = np.broadcast_to(np.arange(len(is_real))[:, None], is_real.shape)
    for name, array in arrays.items():
        of_each = array if array.ndim == is_real.ndim else array[..., None]
        columns[name] = np.broadcast_to(of_each, is_real.shape)
    kept = np.ones(is_real.shape, bool)
    if _is_plain(arrays):
        kept = is_real
        del columns["is_real"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    cells = (values_of(name, array[kept]) for name, array in columns.items())
    writer.writerows(map(_texts, zip(*cells, strict=True)))
    return text.getvalue()


def read_csv(
    file: TextIO, kind: str, fields: Mapping[str, str], optional: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read what :func:`written_csv` wrote.

    Rows of an instance follow one another, and shorter instances are padded.

    Returns:
      The fields, and the line of each request, ``[.., n]``.

    Raises:
      ValueError: a column is missing, unknown or there twice, or a value is not what its column
        holds. The message names the line.
    """
    kinds = {_GROUP[kind]: fields["prompt_tokens"], **fields, **optional}
    rows = _rows(file)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    _require_columns(kind, header, kinds, [name for name in fields if name != "is_real"])
    values: dict[str, list[Any]] = {name: [] for name in header}
    lines: list[int] = []
    for line, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"line {line} has {len(cells)} fields; expected {len(header)}")
        for name, cell in zip(header, cells, strict=True):
            parse, expectation = parser(kinds[name])
            try:
                values[name].append(parse(cell))
            except NOT_PARSED as error:
                raise ValueError(f"line {line}: {name} is {shown(cell)}; {expectation}") from error
        lines.append(line)
    if not lines:
        raise ValueError("holds no requests; expected a row for each below the header")
    flat = {name: column(name, kinds[name], each, (-1,)) for name, each in values.items()}
    group = flat.pop(_GROUP[kind], None)
    place = (np.arange(len(lines)),) if group is None else _places(_GROUP[kind], group, lines)
    shape = tuple(int(each.max()) + 1 for each in place)
    at_line = np.zeros(shape, np.int64)
    at_line[place] = lines
    if "is_real" not in flat:
        flat["is_real"] = np.ones(len(lines), bool)
    arrays = {}
    for name, each in flat.items():
        arrays[name] = np.full(shape, FILLERS.get(name, 0), each.dtype)
        arrays[name][place] = each
    if "kv_capacity" in arrays:
        arrays["kv_capacity"] = _one_an_instance(arrays["kv_capacity"], at_line)
    return arrays, at_line


def _is_plain(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether all padding is behind the requests, as reading would add it."""
    is_real = arrays["is_real"]
    counts = is_real.sum(axis=-1)
    is_behind = is_real == (np.arange(is_real.shape[-1]) < counts[..., None])
    is_filled = all(
        (array[~is_real] == FILLERS.get(name, 0)).all()
        for name, array in arrays.items()
        if array.shape == is_real.shape
    )
    return bool(is_behind.all() and is_filled and counts.min() > 0 and is_real.all(axis=-1).any())


def _texts(cells: tuple[Any, ...]) -> list[str]:
    return [str(int(cell) if isinstance(cell, bool) else cell) for cell in cells]


def _rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Give rows that are not blank, with their lines."""
    reader = csv.reader(file, strict=True)
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + 1} is no CSV: {error}") from error


def _require_columns(
    kind: str, header: list[str], known: Mapping[str, str], required: list[str]
) -> None:
    for name in header:
        if name not in known:
            near = nearest(name, known)
            remedy = did_you_mean(near) if near else f"expected {', '.join(known)}"
            raise ValueError(f"line 1: {kind} has no column {shown(name)}; {remedy}")
        if header.count(name) > 1:
            raise ValueError(f"line 1: the column {name} is there twice")
    for name in required:
        if name not in header:
            raise ValueError(f"line 1: lacks the column {name!r} of {kind}")


def _places(name: str, group: np.ndarray, lines: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Instance and place within it of each row."""
    before = np.concatenate([[-1], group[:-1]])
    is_bad = (group != before) & (group != before + 1)
    if is_bad.any():
        row = int(is_bad.argmax())
        expected = f"{before[row]} or {before[row] + 1}" if row else "0"
        raise ValueError(
            f"line {lines[row]}: {name} is {group[row]}; expected {expected}, since the rows of "
            f"each {name} follow one another"
        )
    begins = np.flatnonzero(group != before)
    return group, np.arange(len(group)) - begins[group]


def _one_an_instance(capacity: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Take the capacity that all rows of an instance state."""
    first = capacity[..., :1]
    differs = (capacity != first) & (lines > 0)
    if differs.any():
        row = tuple(np.argwhere(differs)[0])
        raise ValueError(
            f"line {lines[row]}: kv_capacity is {capacity[row]}; expected "
            f"{first[(*row[:-1], 0)]}, as in the rows above of the same instance"
        )
    return first[..., 0]
