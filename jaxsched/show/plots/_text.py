"""Text that fits where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable


def text_width(text: str, size: float) -> float:
    """Width of one line of text in points, at a font size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)[0]


def widest(texts: Iterable[str], size: float) -> float:
    """Width of the widest line of several texts."""
    return max(text_width(line, size) for text in texts for line in text.split("\n"))


def wrapped(text: str, room: float, size: float) -> str:
    """Break lines so that each fits ``room`` points, about equally long.

    They break after spaces, underscores, commas and brackets; a word that is longer than the room
    stays whole.
    """
    return "\n".join("\n".join(_lines(line, room, size)) for line in text.split("\n"))


def _lines(text: str, room: float, size: float) -> list[str]:
    lines = _filled(text, room, size)
    while len(lines) > 1:
        evener = _filled(text, 0.999 * widest(lines, size), size)
        if len(evener) > len(lines) or widest(evener, size) >= widest(lines, size):
            break
        lines = evener
    return lines


def _filled(text: str, room: float, size: float) -> list[str]:
    """Put as many words as fit on each line."""
    lines = [""]
    for word in re.split(r"(?<=[ _,(])", text):
        if lines[-1] and text_width((lines[-1] + word).rstrip(), size) > room:
            lines.append("")
        lines[-1] += word
    return [line.rstrip(" ") for line in lines]
