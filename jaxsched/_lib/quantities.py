"""Whole numbers and seconds as people and logs write them."""

from __future__ import annotations

import re
from fractions import Fraction

_GROUPED = re.compile(r"(\d{1,3}(?:,\d{3})+|\d{1,30})(\.\d{1,30})?\s?([kKmM]?)", re.ASCII)
_TIMES = {"": 1, "k": 1000, "m": 1000_000}
_DURATION = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)\s?(us|ms|s)", re.ASCII)
_IN_A_SECOND = {"us": 1_000_000, "ms": 1000, "s": 1}


def whole_number(text: str) -> int | None:
    """Read a count; None where the text is none.

    Example:
      >>> from jaxsched._lib.quantities import whole_number
      >>> whole_number("2,042,016"), whole_number("284K"), whole_number("1.5K")
      (2042016, 284000, 1500)
      >>> whole_number("1,2"), whole_number("1.2"), whole_number("many")
      (None, None, None)
    """
    matched = _GROUPED.fullmatch(text.strip())
    if matched is None:
        return None
    digits, decimals, suffix = matched.groups()
    number = Fraction(digits.replace(",", "") + (decimals or "")) * _TIMES[suffix.lower()]
    return int(number) if number.denominator == 1 else None


def seconds(text: str) -> float | None:
    """Read a short time with its unit, us, ms or s; None where the text is none.

    Example:
      >>> from jaxsched._lib.quantities import seconds
      >>> seconds("500ms"), seconds("1.5 s"), seconds("250us")
      (0.5, 1.5, 0.00025)
      >>> seconds("500"), seconds("soon")
      (None, None)
    """
    matched = _DURATION.fullmatch(text.strip())
    if matched is None:
        return None
    digits, unit = matched.groups()
    return float(Fraction(digits) / _IN_A_SECOND[unit])
