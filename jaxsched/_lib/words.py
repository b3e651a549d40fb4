"""Numbers in sentences."""

from __future__ import annotations


def counted(low: int, noun: str, high: int | None = None) -> str:
    """Write a number, or a range, of things.

    Example:
      >>> from jaxsched._lib.words import counted
      >>> counted(1, "request"), counted(20, "request"), counted(1, "request", high=3)
      ('1 request', '20 requests', '1..3 requests')
    """
    if high is None or high == low:
        return f"{low} {noun}" if low == 1 else f"{low} {noun}s"
    return f"{low}..{high} {noun}s"
