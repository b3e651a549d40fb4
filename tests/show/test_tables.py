"""Tables for terminals: nothing is cut at any width, and ASCII where there is no Unicode."""

import io

import pytest
from rich.console import Console

from jaxsched._lib.layout import Column, Layout
from jaxsched.show.tables import FittedTable, Listing, plain_text

NAMES = ["fcfs", "aged_shortest_first", "file:a/rather/long/path/to/rule.json"]
LAYOUT = Layout(
    title="3 instances",
    columns=[Column("rule", NAMES)]
    + [Column(f"mean\nlatency {n}", [f"{n}{n}{n}±{n}", "-", "1"]) for n in range(1, 9)],
    caption="± 95% t intervals",
    best_row=1,
    limit_row=2,
)


def shown(renderable, width, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width, color_system=None, legacy_windows=False).print(renderable)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_name_and_number_is_there_and_fits(width):
    text = shown(FittedTable(LAYOUT), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    if width >= 60:
        words = text.split()
        for column in LAYOUT.columns:
            assert set(column.cells) <= set(words)


def test_a_wide_terminal_has_one_block_and_a_narrow_one_repeats_the_names():
    assert shown(FittedTable(LAYOUT), 200).count("aged_shortest_first") == 1
    assert shown(FittedTable(LAYOUT), 80).count("aged_shortest_first") > 1


def test_columns_stand_closer_before_they_are_parted():
    columns = [Column("rule", ["fcfs"]), Column("a", ["1234"]), Column("b", ["1234"])]
    layout = Layout(title="", columns=columns, caption="")
    by_width = {
        width: shown(FittedTable(layout), width).rstrip().splitlines() for width in (16, 14, 13)
    }
    assert by_width[16][-1] == "fcfs  1234  1234"
    assert by_width[14][-1] == "fcfs 1234 1234"
    assert by_width[13][-1] == "fcfs  1234"


def test_a_terminal_without_unicode_gets_aligned_ascii():
    text = shown(FittedTable(LAYOUT), 80, "ascii")
    assert "111+-1" in text
    rows = [line for line in text.splitlines() if line.startswith(("fcfs", "aged"))]
    assert len({len(line.rstrip()) for line in rows[:2]}) == 1
    assert "\\x" not in text


def test_plain_text_is_one_block():
    assert plain_text(LAYOUT).count("aged_shortest_first") == 1


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_listing_wraps_what_is_said_and_never_the_names(encoding):
    text = shown(
        Listing(("rule", "what it does"), [(name, "word " * 30) for name in NAMES]), 60, encoding
    )
    assert set(NAMES) <= set(text.split())
    assert all(len(line) <= 60 for line in text.splitlines())


NAME = "file:/somewhere/very/far/away/from/here/in/a/folder/of/its/own/rule_of_mine.json"


def test_names_longer_than_the_terminal_go_on_below():
    columns = [Column("rule", ["fcfs", NAME]), Column(f"change\nvs {NAME}", ["1%", "-"])]
    lines = shown(FittedTable(Layout(title="", columns=columns, caption="")), 60).splitlines()
    assert all(len(line.rstrip()) <= 60 for line in lines)
    rule = next(number for number, line in enumerate(lines) if line.startswith("──"))
    above, below = lines[:rule], lines[rule + 1 :]
    assert above[-1].startswith("rule ")  # the first column is there
    assert NAME in "".join(line.split()[-1] for line in above)
    assert NAME in "".join(line.split()[0] for line in below)
