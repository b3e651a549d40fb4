"""The text of a file, in the encodings that spreadsheets and shells write."""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path

from jaxsched._lib.utf8 import bad_byte
from jaxsched.workloads.traces._bytes import opened

_LONGEST_LINE = 2**24  # characters; of a file that is no text there may be one line only

# Longer marks first: that of UTF-32 begins like that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@contextlib.contextmanager
def text_of(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a text file, expanded and decoded.

    Raises:
      ValueError: it cannot be expanded or decoded.
      OSError: it cannot be opened.
    """
    with opened(path) as file:
        start = file.peek(4)[:4]
        marked = [encoding for mark, encoding in _MARKS.items() if start.startswith(mark)]
        encoding = marked[0] if marked else _without_mark(start)
        try:
            yield io.TextIOWrapper(file, encoding=encoding, newline="")
        except UnicodeDecodeError as error:
            if encoding.startswith("utf-8"):
                with opened(path) as again:
                    remedy = "such as by iconv -f LATIN1 -t UTF-8"
                    raise ValueError(f"{bad_byte(again)}, {remedy}") from error
            raise ValueError(f"is not {error.encoding} text: {error.reason}") from error


def _without_mark(start: bytes) -> str:
    """Tell UTF-16 by the zeros that are half of every digit."""
    zeros = [byte == 0 for byte in start]
    if zeros[:4] == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros[:4] == [True, False, True, False] else "utf-8"


def lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Give line after line, a part of one that is too long to be a row."""
    return iter(functools.partial(text.readline, _LONGEST_LINE), "")
