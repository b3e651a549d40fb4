"""A table of requests: the names of its columns, and its rows one after another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

#: Where in the file, the first being 1, and a cell for each column asked for.
Row = tuple[int, Sequence[Any]]

_CHUNK = 2**14  # rows


class Rows(NamedTuple):
    """Rows one after another.

    Attributes:
      place: what they are numbered by: "line", "record", "entry" or "row".
      each: the rows.
    """

    place: str
    each: Iterator[Row]


class Table(NamedTuple):
    """What a reader makes of an open file.

    Attributes:
      columns: names, as often as the file has them.
      rows: gives the cells of the columns at some positions; and refuses rows that have a column
        of a name, if one is given, which was not there at first.
    """

    columns: Sequence[str]
    rows: Callable[[Sequence[int], str], Rows]


class Chunk(NamedTuple):
    """Some rows: where they are, and the cells of each column."""

    line: np.ndarray
    cells: list[Sequence[Any]]


def chunks(rows: Iterator[Row], width: int) -> Iterator[Chunk]:
    """Collect rows of ``width`` cells, few enough at a time to take little memory."""
    while True:
        line: list[int] = []
        cells: list[Any] = []  # one list: Python's collector would look through one a row
        for number, row in itertools.islice(rows, _CHUNK):
            line.append(number)
            cells.extend(row)
        if not line:
            return
        yield Chunk(np.array(line, np.int64), [cells[at::width] for at in range(width)])
