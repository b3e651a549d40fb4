"""Single values of files of text, as they are written and read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched._lib.npz import BOOLS, FLOATS, INTEGERS, NUMBERS

_INTEGER = re.compile(r"\s*[-+]?[0-9]+\s*", re.ASCII)
_TRUTHS = {"0": False, "1": True, "false": False, "true": True}
_OWN_DTYPE = ("priority",)  # fields that keep the width of their numbers when they are read


def values_of(field: str, array: np.ndarray) -> list[Any]:
    """Turn an array into Python numbers that are read back to the bit, in its order, flat.

    Floats of 32 bits become the shortest numbers that are the same in 32 bits.
    """
    flat = array.reshape(-1)
    if flat.dtype.kind != "f" or flat.dtype == np.float64 or field in _OWN_DTYPE:
        return flat.astype(np.float64).tolist() if flat.dtype.kind == "f" else flat.tolist()
    short = np.array([float(str(each)) for each in flat], np.float64)
    return np.where(short.astype(flat.dtype) == flat, short, flat.astype(np.float64)).tolist()


def parser(kinds: str) -> tuple[Callable[[Any], Any], str]:
    """How to read a value of one of the kinds of dtypes, and what is expected of it."""
    return _PARSERS[kinds]


def column(field: str, kinds: str, numbers: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Make an array of values that were read."""
    if kinds == BOOLS:
        return np.array(numbers, bool).reshape(shape)
    if kinds == FLOATS or any(isinstance(number, float) for number in numbers):
        return np.array(numbers, np.float64).reshape(shape)
    try:
        return np.array(numbers, np.int64).reshape(shape)
    except OverflowError as error:
        most = max(numbers, key=abs)
        raise InputError(field, most, "expected an integer of 64 bits") from error


def _whole(cell: Any) -> int:
    if isinstance(cell, str) and _INTEGER.fullmatch(cell):
        return int(cell)
    if type(cell) is not int:
        raise ValueError
    return cell


def _real(cell: Any) -> float:
    if isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell):
        raise ValueError
    return float(cell)


def _number(cell: Any) -> int | float:
    try:
        return _whole(cell)
    except ValueError:
        return _real(cell)


def _truth(cell: Any) -> bool:
    if isinstance(cell, bool):
        return cell
    return _TRUTHS[str(cell).strip().lower()]


_PARSERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    BOOLS: (_truth, "expected 0 or 1"),
    INTEGERS: (_whole, "expected an integer"),
    FLOATS: (_real, "expected a number"),
    NUMBERS: (_number, "expected a number"),
}
#: What a parser raises for a value that it does not take.
NOT_PARSED = (ValueError, TypeError, KeyError, OverflowError)
