"""Tables of estimates, for terminals."""

from __future__ import annotations

import io
import math

from rich import box
from rich.console import Console
from rich.table import Table

from jaxsched._lib.layout import Layout
from jaxsched.metrics.statistics import Estimate

_MANY_COLUMNS = 8  # more stand closer together, to fit a terminal of 80 columns


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


def rich_table(layout: Layout) -> Table:
    """Lay the table out for a terminal."""
    table = Table(
        title=f"{layout.title}\n",
        caption=layout.caption,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0) if len(layout.columns) <= _MANY_COLUMNS else 0,
        pad_edge=False,
        min_width=len(layout.title),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="dim",
    )
    for number, column in enumerate(layout.columns):
        table.add_column(
            column.header,
            justify="right" if number else "left",
            vertical="bottom",
            no_wrap=number > 0,
        )
    for number, row in enumerate(zip(*(column.cells for column in layout.columns), strict=True)):
        if number == layout.limit_row:
            table.add_section()
        table.add_row(*row, style="bold" if number == layout.best_row else None)
    return table


def plain_text(layout: Layout) -> str:
    """Lay the table out without colours, as wide as it needs to be."""
    file = io.StringIO()
    Console(file=file, width=200, color_system=None).print(rich_table(layout))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
