"""The public trace formats: which columns hold what, and how their clocks count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

Cells = Sequence[Any]


def numbers(cells: Cells) -> np.ndarray:
    """Convert cells to float64, NaN where a cell is no number."""
    return _parsed(float, cells)


def _milliseconds(cells: Cells) -> np.ndarray:
    return numbers(cells) / 1000


def _clock_times(cells: Cells) -> np.ndarray:
    """Seconds since the first of ISO date-times, NaN where a cell is none."""
    try:
        first = datetime.fromisoformat(cells[0])
    except (TypeError, ValueError):
        return np.full(len(cells), np.nan)
    return _parsed(lambda cell: (datetime.fromisoformat(cell) - first).total_seconds(), cells)


def _parsed(parse: Callable[[Any], float], cells: Cells) -> np.ndarray:
    try:
        return np.fromiter(map(parse, cells), np.float64, len(cells))
    except (TypeError, ValueError, OverflowError):
        return np.array([_parsed_or_nan(parse, cell) for cell in cells])


def _parsed_or_nan(parse: Callable[[Any], float], cell: Any) -> float:
    try:
        return parse(cell)
    except (TypeError, ValueError, OverflowError):
        return np.nan


class Format(NamedTuple):
    """A trace format: the names of its columns, and how arrivals become seconds."""

    name: str
    arrival: str
    prompt: str
    output: str
    seconds: Callable[[Cells], np.ndarray]


FORMATS = (
    Format("Azure LLM inference", "TIMESTAMP", "ContextTokens", "GeneratedTokens", _clock_times),
    Format("BurstGPT", "Timestamp", "Request tokens", "Response tokens", numbers),
    Format("Mooncake", "timestamp", "input_length", "output_length", _milliseconds),
    Format("Vidur", "arrived_at", "num_prefill_tokens", "num_decode_tokens", numbers),
)


def recognise(columns: Sequence[str]) -> Format:
    """Find the format whose prompt and output columns are among ``columns``.

    Raises:
      ValueError: there is none; the message lists the known formats and the columns found.
    """
    for known in FORMATS:
        if known.prompt in columns and known.output in columns:
            return known
    expected = "; ".join(f"{known.name} ({known.prompt}, {known.output})" for known in FORMATS)
    present = ", ".join(map(repr, columns)) or "none"
    raise ValueError(f"unknown trace format; columns present: {present}; known formats: {expected}")
