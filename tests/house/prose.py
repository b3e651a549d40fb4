"""Reads the project's prose as a checker needs it: paragraphs, sentences, numbers, sources.

A paragraph names the source of its numbers in a comment right below it:

    <!-- results: capacity.csv | rule=fcfs,smallest_volume | kv_capacity saved -->

The three parts are a file of experiments/results, the rows (``column=pattern,pattern; ..``, all
rows if empty) and the columns (all if empty). ``count`` is the number of those rows. A manifest has
one row. Numbers in a cell of text count too.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

RESULTS = ROOT / "experiments" / "results"

_FENCE = re.compile(r"^(```+)[^\n]*\n(.*?)^\1[ \t]*$", re.DOTALL | re.MULTILINE)
_PROSE_DIRECTIVE = re.compile(
    r"^```\{(?:glossary|note|tip|warning)\}\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
_DISPLAY = re.compile(r"^\$\$.*?\$\$[^\n]*$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"\{[\w:]+\}`[^`]*`|`[^`]*`|\$[^$]+\$")
_NUMBER = re.compile(r"(?<![\w.,-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:%| million| ms)?(?![\w.,]*\w)")
_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.|:)\s+", re.MULTILINE)
_END = re.compile(r"(?<=[.!?])[*_)\"]*\s+(?=[*_(\"]*[A-Z]|CODE)")

# Numbers that no results file can hold, each kind with its reason.
_OTHER_NUMBERS = (
    r"arXiv:\d{4}\.\d{5}",  # papers
    r"\b(?:19|20)\d\d\b",  # years
    r"\bPython 3\.\d+",  # what pyproject.toml requires
    r"\b95% (?:t )?intervals?",  # the level of every interval
)
_SCALES = {"%": (1, 100), " million": (1e-6,), " ms": (1000,), "": (1,)}


class Paragraph(NamedTuple):
    """A block of prose: where it begins, its text, and the sources that its comments name."""

    line: int
    text: str
    sources: tuple[str, ...]


def paragraphs(page: str) -> Iterator[Paragraph]:
    """Blocks between blank lines, without code, display mathematics and comments."""
    page = _PROSE_DIRECTIVE.sub(r"\n\1", page)
    page = _FENCE.sub(_blank, _DISPLAY.sub(_blank, page))
    line = 1
    for block in re.split(r"(\n[ \t]*\n)", page):
        sources = tuple(
            comment.strip().removeprefix("results:").strip()
            for comment in _COMMENT.findall(block)
            if comment.strip().startswith("results:")
        )
        text = _COMMENT.sub("", block).strip()
        if text:
            yield Paragraph(
                line + block[: len(block) - len(block.lstrip())].count("\n"), text, sources
            )
        line += block.count("\n")


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def plain(text: str) -> str:
    """Text as it is read: links by their words, code and formulas as one word each."""
    return _CODE.sub("CODE", _LINK.sub(r"\1", text))


def sentences(paragraph: Paragraph) -> list[str]:
    """Sentences of a paragraph or of each item of a list; none of headings and tables."""
    if paragraph.text.startswith(("#", "|")):
        return []
    items = _ITEM.split(paragraph.text)
    return [
        " ".join(sentence.split())
        for item in items
        for sentence in _END.split(plain(item))
        if sentence.strip()
    ]


def numbers(text: str) -> list[str]:
    """Numbers of a text that need a source, as they are written, with their unit if it scales."""
    text = plain(text)
    for kind in _OTHER_NUMBERS:
        text = re.sub(kind, "", text)
    text = re.sub(r"^\s*\d+\.\s", "", text, flags=re.MULTILINE)  # items of a list
    return _NUMBER.findall(text)


def in_code(page: str) -> str:
    """Code blocks of a page, which are examples that the tests run, and what they print."""
    page = _PROSE_DIRECTIVE.sub("", page)
    return "\n".join(block[1] for block in _FENCE.findall(page))


def unsupported(page: str) -> Iterator[tuple[int, str]]:
    """Line and number, for every number of a page that no source holds."""
    examples = _values(in_code(page))
    for paragraph in paragraphs(page):
        known = [value for source in paragraph.sources for value in values(source)] + examples
        for number in numbers(paragraph.text):
            if not any(is_rounded(number, value) for value in known):
                yield paragraph.line, number


def values(source: str) -> list[float]:
    """Numbers in the cells that a comment names.

    Raises:
      ValueError: there is no such file, column or row.
    """
    file, _, rest = source.partition("|")
    rows_named, _, columns = rest.partition("|")
    rows = _rows(RESULTS / file.strip())
    for condition in filter(None, map(str.strip, rows_named.split(";"))):
        column, _, patterns = condition.partition("=")
        rows = [
            row
            for row in rows
            if any(fnmatch.fnmatchcase(row[column], each) for each in patterns.split(","))
        ]
    if not rows:
        raise ValueError(f"{source!r} names no row")
    names = columns.split() or list(rows[0])
    cells = [row[name] for row in rows for name in names if name != "count"]
    counted = [float(len(rows))] if "count" in names else []
    return counted + [value for cell in cells for value in _values(cell)]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise ValueError(f"there is no results file {path.name}")
    if path.suffix == ".json":
        return [{name: json.dumps(value) for name, value in json.loads(path.read_text()).items()}]
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def _values(text: str) -> list[float]:
    """Every number in a text, also inside words and file formats."""
    found = re.findall(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?", text)
    return [float(each.replace(",", "")) for each in found]


def is_rounded(number: str, value: float) -> bool:
    """Whether a number as written is a value of a results file, to the digits shown.

    A share may be written in per cent, and a change without its sign ("9% below"). Results have
    five digits, so a value may be off by half of its fifth.
    """
    digits, unit = re.fullmatch(r"[-+]?([\d,.]*\d)(.*)", number).groups()
    shown = float(digits.replace(",", ""))
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2])
    exact = abs(value)
    blur = 0.0 if exact.is_integer() else 0.5 * 10.0 ** (math.floor(math.log10(exact)) - 4)
    return any(
        abs(shown - exact * scale) <= (half + blur * scale) * (1 + 1e-9) for scale in _SCALES[unit]
    )
