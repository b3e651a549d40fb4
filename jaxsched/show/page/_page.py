"""What stands on a page, and the page as one HTML file."""

from __future__ import annotations

import base64
import html
import string
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxsched._lib import layout

_TEMPLATE = Path(__file__).with_name("page.html")
_NARROW = "(max-width: 40rem)"  # screens that get the narrow form of a picture


class Text(NamedTuple):
    """A paragraph."""

    text: str
    is_lead: bool = False


class Items(NamedTuple):
    """A list."""

    texts: Sequence[str]


class Code(NamedTuple):
    """Lines to be copied."""

    text: str


class Picture(NamedTuple):
    """SVG for a wide and a narrow screen, and what it shows in words."""

    wide: bytes
    narrow: bytes
    alt: str


Block = Text | Items | Code | Picture | layout.Layout


class Section(NamedTuple):
    """A heading and what stands below it."""

    heading: str
    blocks: Sequence[Block]


class Page(NamedTuple):
    """A page."""

    title: str
    subtitle: str
    lead: Sequence[Block]
    sections: Sequence[Section]
    foot: str


def page_html(page: Page) -> str:
    """Write the page as one HTML file. All text is escaped, pictures lie inside."""
    parts = [_block(block) for block in page.lead]
    for section in page.sections:
        parts.append(_element("h2", section.heading))
        parts += map(_block, section.blocks)
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(page.title),
        subtitle=html.escape(page.subtitle),
        body="\n".join(parts),
        foot=html.escape(page.foot),
    )


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return _element("p", block.text, ' class="lead"' if block.is_lead else "")
    if isinstance(block, Items):
        items = "\n".join(_element("li", each) for each in block.texts)
        return f"<ul>\n{items}\n</ul>"
    if isinstance(block, Code):
        return _element("pre", block.text)
    if isinstance(block, Picture):
        return _picture(block)
    return f'<div class="table">\n{layout.html(block)}\n</div>'


def _element(tag: str, text: str, attributes: str = "") -> str:
    return f"<{tag}{attributes}>{html.escape(text)}</{tag}>"


def _picture(picture: Picture) -> str:
    wide, narrow = (
        f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"
        for svg in (picture.wide, picture.narrow)
    )
    return (
        f'<picture>\n<source media="{_NARROW}" srcset="{narrow}">\n'
        f'<img src="{wide}" alt="{html.escape(picture.alt)}">\n</picture>'
    )
