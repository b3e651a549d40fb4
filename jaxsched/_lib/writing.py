"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxsched._lib.streams import hand_on, is_stream

_LONGEST_STEM = 40  # characters of a name that are kept beside what is added to it


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file beside ``path``, then give it that name.

    What a symbolic link stands for is written to, and so are devices and pipes. A file that is
    there already keeps its permissions. Errors of the system name ``path``.
    """
    with _about(path):
        if is_stream(path):
            hand_on(path, write)
            return
        target = _target(path)
        with _filled(target, write) as partial:
            partial.replace(target)


def require_writable(path: Path) -> None:
    """Raise an error of the system if :func:`write_whole` could not make the file."""
    with _about(path):
        if is_stream(path):
            return
        target = _target(path)
        if target.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        with _filled(target, Path.touch):
            pass


def write_once(path: Path, write: Callable[[Path], object]) -> None:
    """Do as :func:`write_whole`, but leave a file alone that has the name already."""
    if path.exists():
        return
    with _filled(path, write) as partial, contextlib.suppress(FileExistsError):
        path.hardlink_to(partial)  # which, unlike a rename, fails where another was first


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Name the file that was asked for, and not the one that is renamed to it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _target(path: Path) -> Path:
    """Follow symbolic links, also to what is not there yet."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # one that leads to itself
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


@contextlib.contextmanager
def _filled(path: Path, write: Callable[[Path], object]) -> Iterator[Path]:
    """Fill a file that no other process uses, on any host, and remove it in the end.

    It has the permissions of the file at ``path`` before anything is in it.
    """
    partial = path.with_name(f".{path.stem[:_LONGEST_STEM]}.{secrets.token_hex(8)}{path.suffix}")
    try:
        if path.is_file():
            partial.touch(mode=0o600)
            partial.chmod(path.stat().st_mode & 0o777)
        write(partial)
        yield partial
    finally:
        partial.unlink(missing_ok=True)
