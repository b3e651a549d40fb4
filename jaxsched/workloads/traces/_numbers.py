"""Cells as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.quantities import whole_number

_MAX_EXACT_FLOAT = 2.0**53


class Tokens(NamedTuple):
    """Whole numbers of tokens, and the cells that hold none."""

    tokens: np.ndarray
    is_bad: np.ndarray


def tokens(cells: Sequence[Any]) -> Tokens:
    """Take cells as counts, also as ``2,042,016`` or ``284K``."""
    values = floats(cells)
    for position in np.flatnonzero(np.isnan(values)):
        cell = cells[int(position)]
        if isinstance(cell, str) and (number := whole_number(cell)) is not None:
            values[position] = number
    is_count = (values >= 0) & (values < _MAX_EXACT_FLOAT) & (values == np.floor(values))
    return Tokens(np.where(is_count, values, 0).astype(np.int64), ~is_count)


def floats(cells: Sequence[Any]) -> np.ndarray:
    """Convert cells to float64, NaN where a cell is no number; truth values are none."""
    if bool in set(map(type, cells)):
        return parsed(lambda cell: math.nan if isinstance(cell, bool) else float(cell), cells)
    return parsed(float, cells)


def parsed(parse: Callable[[Any], float], cells: Sequence[Any]) -> np.ndarray:
    """Parse each cell, NaN where that fails."""
    try:
        return np.fromiter(map(parse, cells), np.float64, len(cells))
    except _NOT_PARSED:
        return np.array([_parsed_or_nan(parse, cell) for cell in cells])


def _parsed_or_nan(parse: Callable[[Any], float], cell: Any) -> float:
    try:
        return parse(cell)
    except _NOT_PARSED:
        return math.nan


_NOT_PARSED = (TypeError, ValueError, OverflowError, AttributeError)
