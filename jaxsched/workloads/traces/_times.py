"""Times of arrival in seconds, whatever a file counts them in."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from jaxsched.workloads.traces._numbers import floats, parsed

#: How many of a unit a second has.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

# Seconds since 1970 of what counts as a date: from 1973 on, until the year 5138. A later one is a
# unit mistaken, for milliseconds since 1970 begin there.
_FIRST_DATE_S, _LAST_DATE_S = 1e8, 1e11


class Seconds(NamedTuple):
    """Seconds of some cells: NaN where one is missing or bad."""

    seconds: np.ndarray
    is_bad: np.ndarray


class Clock:
    """Turns cells into seconds, a chunk after another; the first time says how.

    Dates count from the first one, be they date-times or seconds since 1970. Other numbers stay as
    the file counts them.

    Attributes:
      expectation: what a cell should have been, for an error.
      first_s: the first time of all, in the seconds given; None before.
      date: the first time as a date, if it is one.
    """

    def __init__(self, unit: str | None):
        self._unit = unit
        self._parse: Callable[[Sequence[Any]], np.ndarray] | None = None
        self.expectation = "expected a time"
        self.first_s: float | None = None
        self.date: datetime | None = None

    def seconds(self, cells: Sequence[Any]) -> Seconds:
        """Take the next cells."""
        if self._parse is None:
            given = next((cell for cell in cells if not _is_missing(cell)), None)
            if given is None:
                return Seconds(np.full(len(cells), np.nan), np.zeros(len(cells), bool))
            self._parse = self._parser(given)
        seconds = self._parse(cells)
        is_bad = ~(np.abs(seconds) < _LAST_DATE_S)
        for position in np.flatnonzero(is_bad):
            is_bad[position] = not _is_missing(cells[int(position)])
        seconds[is_bad] = np.nan
        if self.first_s is None and np.isfinite(seconds).any():
            self.first_s = float(seconds[np.isfinite(seconds)][0])
        return Seconds(seconds, is_bad)

    def _parser(self, first: Any) -> Callable[[Sequence[Any]], np.ndarray]:
        if (moment := _date_time(first)) is not None:
            self.date = moment
            return lambda cells: parsed(lambda cell: _since(moment, cell), cells)
        number = _number(first)
        unit = self._unit or _unit_of_date(number)
        if unit is None:
            self.expectation = (
                "expected a date and a time, or a number whose unit is given: columns=unit=s"
            )
            return lambda cells: np.full(len(cells), np.nan)
        if not math.isfinite(number):
            return lambda cells: np.full(len(cells), np.nan)
        first_s = number / UNITS[unit]
        if first_s >= _LAST_DATE_S:
            self.expectation = (
                f"expected a time in {unit}; give its unit: columns=unit=ms, us or ns"
            )
            return lambda cells: np.full(len(cells), np.nan)
        if first_s < _FIRST_DATE_S:
            return lambda cells: floats(cells) / UNITS[unit]
        self.date = datetime.fromtimestamp(first_s, UTC)
        whole = _whole(first)
        origin = number if whole is None else whole
        return lambda cells: _differences(cells, origin) / UNITS[unit]


def _is_missing(cell: Any) -> bool:
    return cell is None or cell == "" or (type(cell) is str and cell.isspace())


def _date_time(cell: Any) -> datetime | None:
    if isinstance(cell, datetime):
        return cell
    if not isinstance(cell, str) or math.isfinite(_number(cell)):
        return None
    try:
        return datetime.fromisoformat(cell.strip())
    except ValueError:
        return None


def _since(moment: datetime, cell: Any) -> float:
    then = cell if isinstance(cell, datetime) else datetime.fromisoformat(cell.strip())
    return (then - moment).total_seconds()


def _unit_of_date(number: float) -> str | None:
    """Tell the unit of a time since 1970 by its size."""
    for unit, scale in UNITS.items():
        if _FIRST_DATE_S * 10 <= number / scale < _LAST_DATE_S:
            return unit
    return None


def _number(cell: Any) -> float:
    return float(floats([cell])[0])


def _whole(cell: Any) -> int | None:
    try:
        return int(cell) if isinstance(cell, str) else operator.index(cell)
    except (TypeError, ValueError):
        return None


def _differences(cells: Sequence[Any], origin: float) -> np.ndarray:
    """Subtract before rounding: nanoseconds since 1970 take more than 53 bits."""

    def since(cell: Any) -> float:
        whole = _whole(cell)
        return (float(cell) if whole is None else whole) - origin

    return parsed(since, cells)
