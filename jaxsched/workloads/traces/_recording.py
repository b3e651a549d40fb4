"""A trace file, read a few rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.errors import InputError, shown
from jaxsched.workloads.traces._columns import asked_columns, resolved
from jaxsched.workloads.traces._errors import Settled
from jaxsched.workloads.traces._numbers import tokens
from jaxsched.workloads.traces._table import Chunk, chunks
from jaxsched.workloads.traces._tables import table_of
from jaxsched.workloads.traces._times import Clock
from jaxsched.workloads.traces._window import window


class Trace(NamedTuple):
    """The rows of a trace file in file order, each column a numpy array ``[n]``.

    Attributes:
      arrived_at: float64 seconds, from the first row where the file gives dates, else as the file
        counts them; NaN where a row has no time. None where the file gives no times.
      prompt_tokens: int64 tokens.
      output_tokens: int64 tokens; 0 where the service failed to answer.
      line: int64, the line of the file that holds the row, the first being 1. Of a Parquet file
        and of JSON that is not a record a line, the number of the row, record or entry.
    """

    arrived_at: np.ndarray | None
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    line: np.ndarray

    def at(self, rows: np.ndarray) -> Trace:
        """Take some of the rows.

        Args:
          rows: their positions, or a flag for each row.
        """
        columns: Any = (None if column is None else column[rows] for column in self)
        return Trace(*columns)


class Recording:
    """A trace file whose columns are known; each call of :meth:`chunks` reads it anew.

    Attributes:
      path: the file.
      has_times: whether it gives times of arrival.
      place: what its rows are numbered by, once some are read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Mapping[str, str] | str | None,
        since: Any = None,
        until: Any = None,
    ):
        self.path, self.place = Path(path), "row"
        self._window = window(since, until)
        self._asked = asked_columns(columns)
        with self._named(), table_of(self.path) as table:
            self._columns = resolved(table.columns, self._asked)
        self.has_times = self._columns.arrival is not None

    def chunks(self, with_times: bool) -> Iterator[Trace]:
        """Give the rows, some at a time; bad times are an error only where they are wanted."""
        are_wanted = with_times or self._window.needs_times
        with_times = self.has_times and are_wanted
        if self._window.needs_times and not self.has_times:
            raise ValueError(f"{self.path}: has no arrival times, so no time can be its end")
        clock = Clock(self._columns.unit, self._columns.is_usual)
        count, kept, is_empty = 0, 0, True
        with self._named(), table_of(self.path) as table:
            columns = self._columns
            wanted = [columns.prompt, columns.output, *([columns.arrival] if with_times else [])]
            names = [table.columns[position] for position in wanted]
            rows = table.rows(wanted, columns.absent if are_wanted else "")
            self.place = rows.place
            for chunk in chunks(rows.each, len(wanted)):
                if count >= self._window.last_row:
                    is_empty = False
                    break
                trace = self._parsed(chunk, names, clock if with_times else None)
                numbers = count + np.arange(len(chunk.line))
                inside = self._window.holds(numbers, trace.arrived_at, clock)
                count += len(chunk.line)
                kept += np.count_nonzero(inside)
                yield trace if inside.all() else trace.at(inside)
        if is_empty and not count:
            expected = "; expected rows below the header" * (self.place == "line")
            raise ValueError(f"{self.path}: holds no requests{expected}")
        if not kept:
            raise ValueError(f"{self.path}: none of its rows is in the part asked for")

    def _parsed(self, chunk: Chunk, names: Sequence[Any], clock: Clock | None) -> Trace:
        def require(name: str, is_bad: np.ndarray, expectation: str, remedy: str = "") -> None:
            if is_bad.any():
                row = int(np.argmax(is_bad))
                value = chunk.cells[names.index(name)][row]
                text = "missing" if value is None else shown(value)
                finding = f"{self.place} {chunk.line[row]}: {name} is {text}; {expectation}"
                if remedy:
                    raise Settled("columns", "columns=", f"{finding}; give its unit: ", remedy)
                raise ValueError(finding)

        lengths = []
        for name, cells in zip(names[:2], chunk.cells, strict=False):
            counted = tokens(cells)
            require(name, counted.is_bad, "expected a whole number of tokens")
            lengths.append(counted.tokens)
        arrived_at = None
        if clock is not None:
            arrived_at, is_bad = clock.seconds(chunk.cells[2])
            require(names[2], is_bad, clock.expectation, clock.remedy)
        return Trace(arrived_at, *lengths, line=chunk.line)

    def _named(self) -> _NamesFile:
        return _NamesFile(self.path)


class _NamesFile:
    """Puts the path before what is wrong with the file."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, Settled):
            argument, given, finding, remedy = error.args
            raise Settled(argument, given, f"{self._path}: {finding}", remedy) from error
        if isinstance(error, ValueError) and not isinstance(error, InputError):
            raise ValueError(f"{self._path}: {error}") from error


def gathered(traces: Iterable[Trace], **dtypes: Any) -> list[np.ndarray]:
    """Join the named columns of chunks in arrays that grow in place: joining parts takes twice."""
    columns = {field: np.empty(0, dtype) for field, dtype in dtypes.items()}
    count = size = 0
    for trace in traces:
        end = count + len(trace.line)
        if end > size:
            size = max(end, size * 9 // 8)
            for column in columns.values():
                column.resize(size, refcheck=False)
        for field, column in columns.items():
            column[count:end] = getattr(trace, field)
        count = end
    for column in columns.values():
        column.resize(count, refcheck=False)
    return list(columns.values())
