"""What things look like in every picture: colors, lines and numbers."""

from __future__ import annotations

from typing import Any

# Five of Okabe and Ito's colors, and five more that color-blind readers tell from them and from one
# another. One color means one thing: vermilion what nothing can cross (a bound, the capacity),
# black what is only asked for.
COLORS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"),
    *("#AA3377", "#BBBBBB", "#6B4226", "#3A3A98", "#4B0055"),
)
BAR, LIMIT, TARGET = "#56B4E9", "#D55E00", "black"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
_LINES_A_DASH = 5  # so that lines are told apart without colors, too
_DASHES = ("-", (0, (6, 1.5)), (0, (2, 1)), (0, (6, 1.5, 2, 1.5)))  # ":" and "--" are limits
MOST_LINES = _LINES_A_DASH * len(_DASHES)


def line_style(number: int) -> dict[str, Any]:
    """Color, marker and dashes of a line; no two of the first ``MOST_LINES`` are alike."""
    place = number % len(COLORS)
    dashes = _DASHES[number // _LINES_A_DASH]
    return {"color": COLORS[place], "marker": _MARKERS[place], "linestyle": dashes}


def require_distinct(count: int, what: str, most: int = MOST_LINES) -> None:
    """Raise if there are more things than can be told apart."""
    if count > most:
        raise ValueError(f"{count} {what}; at most {most} can be told apart in one picture")


def written(value: float) -> str:
    """Write a number with at most four digits, or all of its whole ones."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
