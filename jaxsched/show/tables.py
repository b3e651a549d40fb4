"""Tables of estimates, for terminals."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from jaxsched._lib.layout import Column, Layout
from jaxsched.metrics.statistics import Estimate

_WIDE_GAP, _NARROW_GAP = 2, 1  # spaces between columns; the second where that makes them fit
_USUAL_WIDTH = 80
_INSTEAD = {"±": "+-", "\N{EN DASH}": "-", "…": "..."}
_ASCII = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def written(estimate: Estimate, *, is_share: bool = False, has_interval: bool = True) -> str:
    """Write a mean with as many digits as its interval warrants.

    Args:
      estimate: the mean and its interval.
      is_share: write per cent.
      has_interval: write half the interval's width as well, where there is one.

    Example:
      >>> written(Estimate(1234.56, 1222.0, 1248.0)), written(Estimate(1.23456, 1.222, 1.248))
      ('1235±13', '1.235±0.013')
      >>> written(Estimate(0.12345, 0.121, 0.125), is_share=True)
      '12.3±0.2%'
    """
    scale, unit = (100, "%") if is_share else (1, "")
    mean, half_width = scale * estimate.mean, scale * (estimate.high - estimate.low) / 2
    if not math.isfinite(mean):
        return "-"
    if has_interval and half_width > 0:
        digits = 1 if is_share and half_width < 1 else 2
        decimals = _decimals(half_width, digits, most=2 if is_share else 4)
        return f"{mean:.{decimals}f}±{half_width:.{decimals}f}{unit}"
    most = int(has_interval) if is_share else 2
    decimals = 0 if mean == round(mean) else _decimals(abs(mean), digits=3, most=most)
    return f"{mean:.{decimals}f}{unit}"


def _decimals(number: float, digits: int, most: int) -> int:
    """Decimals that show the leading ``digits`` of ``number``, at most ``most``."""
    return min(max(digits - 1 - math.floor(math.log10(number)), 0), most)


def interval_caption(interval_name: str | None) -> str:
    """Say what stands behind the ± of :func:`written`."""
    return f"± {interval_name} intervals over instances" if interval_name else ""


@dataclasses.dataclass(frozen=True)
class FittedTable:
    """A table for a terminal of any width.

    Where not all columns fit side by side, they follow below one another, each block with the
    names of the rows again. Nothing is cut. A terminal without Unicode gets ASCII.

    Attributes:
      layout: the table.
    """

    layout: Layout

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        layout = _in_ascii(self.layout) if options.ascii_only else self.layout
        if layout.title:
            yield Text(f"{layout.title}\n", style="bold")
        blocks = _blocks(layout, options.max_width)
        for number, (columns, gap) in enumerate(blocks):
            if number:
                yield ""
            yield _table(layout, columns, gap, options)
        if layout.caption:
            yield Text(layout.caption, style="dim")


@dataclasses.dataclass(frozen=True)
class Listing:
    """Names and what is said of each; the second column wraps.

    Attributes:
      headers: of the two columns.
      rows: name and text.
    """

    headers: tuple[str, str]
    rows: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _empty(_WIDE_GAP, options.ascii_only)
        table.add_column(self.headers[0], overflow="fold", no_wrap=True)
        table.add_column(self.headers[1])
        for row in self.rows:
            table.add_row(*(Text(ascii_text(cell) if options.ascii_only else cell) for cell in row))
        yield table


def _blocks(layout: Layout, width: int) -> list[tuple[Sequence[Column], int]]:
    """Cut the columns into blocks that fit, each with the spaces between its columns."""
    names, *rest = layout.columns
    for gap in (_WIDE_GAP, _NARROW_GAP):
        if _width(layout.columns, gap) <= width:
            return [(layout.columns, gap)]
    names_width = _names_width(layout.columns, width)
    blocks: list[list[Column]] = [[names]]
    for column in rest:
        others = [*blocks[-1][1:], column]
        needed = sum(_WIDE_GAP + min(_column_width(each), width // 2) for each in others)
        if len(others) > 1 and names_width + needed > width:
            blocks.append([names])
        blocks[-1].append(column)
    return [(block, _WIDE_GAP) for block in blocks]


def _names_width(columns: Sequence[Column], width: int) -> int:
    """Width of the first column, which goes on below where it would leave no room for another.

    So does what is wider than half the terminal in the others.
    """
    names, *rest = columns
    widest = max((min(_column_width(column), width // 2) for column in rest), default=0)
    return min(_column_width(names), max(width - _WIDE_GAP - widest, 1))


def _width(columns: Sequence[Column], gap: int) -> int:
    return sum(map(_column_width, columns)) + gap * (len(columns) - 1)


def _column_width(column: Column) -> int:
    return max(
        cell_len(line) for text in (column.header, *column.cells) for line in text.split("\n")
    )


def _table(layout: Layout, columns: Sequence[Column], gap: int, options: ConsoleOptions) -> Table:
    table = _empty(gap, options.ascii_only)
    is_whole = _width(columns, gap) <= options.max_width
    for number, column in enumerate(columns):
        most = options.max_width // 2 if number else _names_width(columns, options.max_width)
        table.add_column(
            Text(column.header),  # which no name can make markup
            justify="right" if number else "left",
            vertical="bottom",
            max_width=None if is_whole else most,
            min_width=None if is_whole else min(most, _column_width(column)),
            no_wrap=is_whole,
            overflow="fold",  # what is too long for the terminal goes on below
        )
    for number, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if number == layout.limit_row:
            table.add_section()
        table.add_row(*map(Text, row), style="bold" if layout.is_bold(number) else None)
    return table


def _empty(gap: int, is_ascii: bool) -> Table:
    return Table(
        box=_ASCII if is_ascii else box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),  # and one of the line between
        pad_edge=False,
    )


def _in_ascii(layout: Layout) -> Layout:
    return layout._replace(
        title=ascii_text(layout.title),
        caption=ascii_text(layout.caption),
        columns=[
            Column(ascii_text(column.header), [ascii_text(cell) for cell in column.cells])
            for column in layout.columns
        ],
    )


def ascii_text(text: str) -> str:
    """Write what this package prints with ASCII alone.

    Example:
      >>> ascii_text("1235±13 as ever …")
      '1235+-13 as ever ...'
    """
    for character, instead in _INSTEAD.items():
        text = text.replace(character, instead)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def plain_text(layout: Layout) -> str:
    """Lay the table out without colors, in 80 columns or as wide as it needs to be."""
    lines = f"{layout.title}\n{layout.caption}".split("\n")
    width = max(_USUAL_WIDTH, _width(layout.columns, _NARROW_GAP), *map(cell_len, lines))
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(FittedTable(layout))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
