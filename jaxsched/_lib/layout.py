"""What stands where in a table, and the table as HTML for notebooks."""

from __future__ import annotations

import html as html_text
from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A header, which may have several lines, and one cell a row."""

    header: str
    cells: Sequence[str]


class Layout(NamedTuple):
    """A table to be shown.

    Attributes:
      title: above it.
      columns: the first holds the names of the rows.
      caption: below it.
      best_row: number of the row to set in bold, or None.
      limit_row: number of the row to set apart from those above it, or None.
      ties: numbers of rows exactly as good as the best, in bold as well.
    """

    title: str
    columns: Sequence[Column]
    caption: str
    best_row: int | None = None
    limit_row: int | None = None
    ties: Sequence[int] = ()

    def is_bold(self, row: int) -> bool:
        """Whether a row is the best, or exactly as good."""
        return row == self.best_row or row in self.ties


def html(layout: Layout) -> str:
    """Lay the table out for a notebook."""

    def element(tag: str, text: str, style: str = "") -> str:
        inner = html_text.escape(text).replace("\n", "<br>")
        return f'<{tag} style="{style}">{inner}</{tag}>'

    sides = ["text-align: left"] + ["text-align: right"] * (len(layout.columns) - 1)
    header = "".join(
        element("th", column.header, side)
        for column, side in zip(layout.columns, sides, strict=True)
    )
    body = ""
    for number, row in enumerate(zip(*(column.cells for column in layout.columns), strict=True)):
        weight = "; font-weight: bold" if layout.is_bold(number) else ""
        rule = "; border-top: 1px solid" if number == layout.limit_row else ""
        cells = (
            element("td", text, side + weight + rule) for text, side in zip(row, sides, strict=True)
        )
        body += f"<tr>{''.join(cells)}</tr>\n"
    return (
        f"<table>\n{element('caption', layout.title)}\n"
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
        f"{element('small', layout.caption)}"
    )
