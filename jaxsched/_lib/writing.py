"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxsched._lib.streams import hand_on, is_stream


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file beside ``path``, then give it that name.

    What a symbolic link stands for is written to, and so are devices and pipes.
    """
    if is_stream(path):
        hand_on(path, write)
        return
    path = Path(os.path.realpath(path))
    with _filled(path, write) as partial:
        partial.replace(path)


def write_once(path: Path, write: Callable[[Path], object]) -> None:
    """Do as :func:`write_whole`, but leave a file alone that has the name already."""
    if path.exists():
        return
    with _filled(path, write) as partial, contextlib.suppress(FileExistsError):
        path.hardlink_to(partial)  # which, unlike a rename, fails where another was first


@contextlib.contextmanager
def _filled(path: Path, write: Callable[[Path], object]) -> Iterator[Path]:
    """Fill a file that no other process uses, on any host, and remove it in the end."""
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(8)}{path.suffix}")
    try:
        write(partial)
        yield partial
    finally:
        partial.unlink(missing_ok=True)
