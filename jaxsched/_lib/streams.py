"""Paths that stand for no file: devices, pipes and open descriptors."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_DESCRIPTORS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})", re.ASCII)


def require_regular(path: Path) -> None:
    """Refuse to read what may never end and cannot be read twice; the caller names the path."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder says what it is
        raise ValueError("is a pipe or a device, which can be read once only; save it to a file")


def is_stream(path: Path) -> bool:
    """Whether writing means to hand bytes on."""
    if _descriptor(path) is not None:
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def is_stdout(path: Path) -> bool:
    """Whether writing means to print."""
    return _descriptor(path) == 1


def hand_on(path: Path, write: Callable[[Path], object]) -> None:
    """Write what ``write`` makes of a file into a stream."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, f"whole{path.suffix}")
        write(whole)
        descriptor = _descriptor(path)
        if descriptor is None:
            target = path.open("wb")
        else:
            sys.stdout.flush()  # what was printed before stands before
            target = os.fdopen(os.dup(descriptor), "wb")  # opened anew it would begin at its start
        with whole.open("rb") as source, target:
            shutil.copyfileobj(source, target)


def _descriptor(path: Path) -> int | None:
    """Tell the number of an open descriptor that a path stands for."""
    matched = _DESCRIPTOR.fullmatch(str(path))
    return int(matched[1]) if matched else _DESCRIPTORS.get(str(path))
