"""Tables of delimited text: commas, semicolons, tabs or bars."""

from __future__ import annotations

import csv
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxsched.workloads.traces._errors import reason
from jaxsched.workloads.traces._numbers import floats
from jaxsched.workloads.traces._table import Row, Rows, Table

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_COMMENT = "#"
_SEPARATOR = re.compile(r'"?sep=.?"?', re.IGNORECASE)  # which spreadsheets put on the first line
_MOST_ABOVE = 2**20  # lines above a header


def delimited(lines: Iterator[str]) -> Table:
    """Read the header, below comments and blank lines, and give the table.

    The header may be the last comment, and a spreadsheet's ``sep=;`` may stand above it.
    """
    header, comment, skipped = "", "", -1
    for line in itertools.islice(lines, _MOST_ABOVE):
        skipped += 1
        if line.startswith(_COMMENT):
            comment = line
        elif line.strip() and not (skipped == 0 and _SEPARATOR.fullmatch(line.strip())):
            header = line
            break
    else:
        if skipped + 1 == _MOST_ABOVE:
            raise ValueError(f"has no header in its first {_MOST_ABOVE} lines")
    delimiter = max(_DELIMITERS, key=header.count)
    above = [header]
    if _is_header(comment, header, delimiter):
        above, skipped = [comment.lstrip(f"{_COMMENT} "), header], skipped - 1
    reader = csv.reader(
        itertools.chain(above, lines), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    numbered = _Numbered(reader, max(skipped, 0), delimiter)
    columns = [name.strip() for name in next(numbered.rows(list), (0, []))[1]]

    def rows(wanted: Sequence[int], _: str) -> Rows:
        return Rows("line", numbered.rows(operator.itemgetter(*wanted)))

    return Table(columns, rows)


def _is_header(comment: str, line: str, delimiter: str) -> bool:
    """Whether a comment names the columns of a line that names none, since it has numbers."""
    names, cells = (each.strip().strip(_COMMENT).split(delimiter) for each in (comment, line))
    return len(names) == len(cells) > 1 and not np.isnan(floats(cells)).all()


class _Numbered:
    """Rows with the line that each ends on, all as wide as the first."""

    def __init__(self, reader: Any, skipped: int, delimiter: str):
        self._reader, self._skipped, self._delimiter = reader, skipped, delimiter
        self._width = 0

    def rows(self, pick: Callable[[list[str]], Sequence[str]]) -> Iterator[Row]:
        """Give the rows that are left, of each what ``pick`` takes."""
        reader, skipped = self._reader, self._skipped
        try:
            for row in reader:
                is_plain = len(row) == self._width and row and not row[0].startswith(_COMMENT)
                if not (is_plain or self._is_row(row)):
                    continue
                yield skipped + reader.line_num, pick(row)
        except csv.Error as error:
            named = _DELIMITERS[self._delimiter]
            line = skipped + reader.line_num
            raise ValueError(f"line {line} is not {named}-separated: {reason(error)}") from error

    def _is_row(self, row: list[str]) -> bool:
        """Whether a row of another width is the first, and neither blank nor a comment."""
        if not any(map(str.strip, row)) or row[0].startswith(_COMMENT):
            return False
        if self._width:
            line = self._skipped + self._reader.line_num
            raise ValueError(f"line {line} has {len(row)} fields; expected {self._width}")
        self._width = len(row)
        return True
