"""A part of a trace: from a row or a time on, until another."""

from __future__ import annotations

import operator
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched._lib.quantities import whole_number
from jaxsched.workloads.traces._times import Clock

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EXPECTATION = "expected a row, a time since the first row such as 90s or 2h, or a date"


class Bound(NamedTuple):
    """One end: a row of the file, seconds since its first row, or a date."""

    row: int | None = None
    seconds: float | None = None
    date: datetime | None = None


class Window(NamedTuple):
    """Both ends; the second is not inside. None is no end."""

    since: Bound | None
    until: Bound | None

    @property
    def needs_times(self) -> bool:
        """Whether an end is a time."""
        return any(bound is not None and bound.row is None for bound in self)

    @property
    def last_row(self) -> float:
        """The row before which reading may end."""
        row = None if self.until is None else self.until.row
        return np.inf if row is None else row

    def holds(self, rows: np.ndarray, seconds: Any, clock: Clock) -> np.ndarray:
        """Say which rows are inside; one without a time is in no span of time."""
        inside = np.ones(rows.shape, bool)
        for bound, is_inside in zip(self, (np.greater_equal, np.less), strict=True):
            if bound is not None:
                at = seconds if bound.row is None else rows
                inside &= is_inside(at, _end(bound, clock))
        return inside


def window(since: Any, until: Any) -> Window:
    """Read both ends, as an integer or a text."""
    return Window(_bound("since", since), _bound("until", until))


def _bound(argument: str, value: Any) -> Bound | None:
    if value is None:
        return None
    if isinstance(value, str):
        if matched := _DURATION.fullmatch(value.strip()):
            return Bound(seconds=float(matched[1]) * _SECONDS[matched[2]])
        if (row := whole_number(value)) is not None:
            return Bound(row=row)
        try:
            return Bound(date=datetime.fromisoformat(value.strip()))
        except ValueError:
            raise InputError(argument, value, _EXPECTATION) from None
    try:
        row = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        row = -1
    if row < 0:
        raise InputError(argument, value, _EXPECTATION)
    return Bound(row=row)


def _end(bound: Bound, clock: Clock) -> float:
    """Give the number at which a bound stands, as rows or seconds are counted."""
    if bound.row is not None:
        return bound.row
    if bound.seconds is not None:
        return bound.seconds + (clock.first_s or 0.0)
    if clock.date is None:
        raise ValueError(f"the times are no dates, so none can be compared with {bound.date}")
    return (_in_utc(bound.date) - _in_utc(clock.date)).total_seconds()


def _in_utc(moment: Any) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
