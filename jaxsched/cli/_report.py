"""What is said on stderr: one line of bounded length."""

from __future__ import annotations

import sys

_LONGEST, _END = 600, 150


def report(kind: str, message: str) -> None:
    """Print one line; of a long message the beginning and the end."""
    text = " ".join(message.split())
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - _END]} ... {text[-_END:]}"
    print(f"jaxsched: {kind}: {text}", file=sys.stderr)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line."""
    report("warning", str(message))
