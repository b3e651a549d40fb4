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
# unit mistaken, for milliseconds since 1970 begin there. Seconds from a first request stay below:
# no log takes three years.
_FIRST_DATE_S, _LAST_DATE_S = 1e8, 1e11


class Seconds(NamedTuple):
    """Seconds of some cells: NaN where one is missing or bad."""

    seconds: np.ndarray
    is_bad: np.ndarray


class Clock:
    """Turns cells into seconds, a chunk after another; the first chunk says how.

    Dates count from the first one, be they date-times or seconds since 1970. Other numbers stay as
    the file counts them.

    Args:
      unit: of times that are numbers; None to tell it by their size.
      is_usual: whether the unit is that of the format, which a file may not keep to.

    Attributes:
      expectation: what a cell should have been, for an error.
      remedy: what to give in ``columns`` where the unit is in doubt, or nothing.
      first_s: the first time of all, in the seconds given; None before.
      date: the first time as a date, if it is one.
    """

    def __init__(self, unit: str | None, is_usual: bool):
        self._unit, self._is_usual = unit, is_usual
        self._parse: Callable[[Sequence[Any]], np.ndarray] | None = None
        self._scale, self._low_s, self._high_s = 1, -_LAST_DATE_S, _LAST_DATE_S
        self._is_whole, self._farthest = False, 0.0
        self.expectation, self.remedy = "expected a time", ""
        self.first_s: float | None = None
        self.date: datetime | None = None

    def seconds(self, cells: Sequence[Any]) -> Seconds:
        """Take the next cells."""
        if self._parse is None:
            given = next((cell for cell in cells if not _is_missing(cell)), None)
            if given is None:
                return Seconds(np.full(len(cells), np.nan), np.zeros(len(cells), bool))
            self._parse = self._parser(given, cells)
        numbers = self._parse(cells)
        seconds = numbers / self._scale
        is_bad = ~((seconds > self._low_s) & (seconds < self._high_s))
        for position in np.flatnonzero(is_bad):
            is_bad[position] = not _is_missing(cells[int(position)])
        if self._is_whole and not is_bad.any():
            is_bad = self._is_fractional(numbers)
        seconds[is_bad] = np.nan
        if self.first_s is None and np.isfinite(seconds).any():
            self.first_s = float(seconds[np.isfinite(seconds)][0])
        return Seconds(seconds, is_bad)

    def _parser(self, first: Any, cells: Sequence[Any]) -> Callable[[Sequence[Any]], np.ndarray]:
        if (moment := _date_time(first)) is not None:
            self.date = moment
            zone = "with" if moment.tzinfo else "without"
            self.expectation = f"expected a date and a time {zone} a zone, like the first"
            return lambda cells: parsed(lambda cell: _since(moment, cell), cells)
        number = _number(first)
        dated = _unit_of_dates(number, cells)
        unit = self._unit or dated
        if unit is None:
            self.expectation = "expected a date and a time, or a number whose unit is given"
            self.remedy = "unit=s" if math.isfinite(number) else ""
            return _nothing
        if not math.isfinite(number):
            return _nothing
        if self._is_usual and dated is not None and UNITS[dated] < UNITS[unit]:
            self.expectation = f"expected a time in {unit}, but it could be {dated} since 1970"
            self.remedy = f"unit={dated} or unit={unit}"
            return _nothing
        self._scale, first_s = UNITS[unit], number / UNITS[unit]
        if first_s >= _LAST_DATE_S:
            self.expectation, self.remedy = f"expected a time in {unit}", "unit=ms, us or ns"
            return _nothing
        if first_s < _FIRST_DATE_S:
            self._high_s, self._is_whole = _FIRST_DATE_S, self._is_usual and unit != "s"
            self.expectation = f"expected a time in {unit} since a start, like the first"
            return floats
        self.expectation = f"expected a time in {unit} since 1970, like the first"
        self._low_s, self._high_s = _FIRST_DATE_S - first_s, _LAST_DATE_S - first_s
        self.date = datetime.fromtimestamp(first_s, UTC)
        whole = _whole(first)
        origin = number if whole is None else whole
        return lambda cells: _differences(cells, origin)

    def _is_fractional(self, numbers: np.ndarray) -> np.ndarray:
        """Find fractions of ms, us or ns, which no format has, where they could be of seconds."""
        self._farthest = max(self._farthest, np.abs(numbers[np.isfinite(numbers)]).max(initial=0))
        if self._farthest >= _FIRST_DATE_S:
            return np.zeros(numbers.shape, bool)
        is_bad = np.isfinite(numbers) & (numbers != np.floor(numbers))
        if is_bad.any():
            self.expectation = f"expected a whole number of {self._unit}, but it could be seconds"
            self.remedy = f"unit=s or unit={self._unit}"
        return is_bad


def _nothing(cells: Sequence[Any]) -> np.ndarray:
    return np.full(len(cells), np.nan)


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


def _unit_of_dates(number: float, cells: Sequence[Any]) -> str | None:
    """Tell the unit of times since 1970 by the size of one, unless they are years apart."""
    for unit, scale in UNITS.items():
        if _FIRST_DATE_S * 10 <= number / scale < _LAST_DATE_S:
            away = np.abs(floats(cells) - number)
            is_log = away[np.isfinite(away)].max(initial=0) < _FIRST_DATE_S * scale
            return unit if is_log else None
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
