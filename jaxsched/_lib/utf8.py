"""Bytes of a file that are no UTF-8: where the first is."""

from __future__ import annotations

import codecs
from typing import Any

_READ = 2**16  # bytes


def bad_byte(file: Any) -> str:
    r"""Say which byte of a file, open in binary, is no UTF-8, and what helps.

    Example:
      >>> import io
      >>> from jaxsched._lib.utf8 import bad_byte
      >>> bad_byte(io.BytesIO(b"a\n\xe9"))
      'line 2: the byte 0xe9 is not UTF-8; save the file as UTF-8'
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, is_last, ends_in_return = 1, False, False
    while not is_last:
        part = file.read(_READ)
        is_last = not part
        try:
            text, bad = decoder.decode(part, final=is_last), None
        except UnicodeDecodeError as error:
            text, bad = error.object[: error.start].decode(), error.object[error.start]
        breaks = text.count("\n") + text.count("\r") - text.count("\r\n")
        line += breaks - (ends_in_return and text.startswith("\n"))
        if bad is not None:
            return f"line {line}: the byte 0x{bad:02x} is not UTF-8; save the file as UTF-8"
        ends_in_return = text.endswith("\r") if text else ends_in_return
    return "is not UTF-8; save it as UTF-8"
