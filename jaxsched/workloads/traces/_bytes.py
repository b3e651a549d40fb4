"""The bytes of a file, whatever it was compressed with, and no more than it can honestly hold."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxsched._lib.errors import shown
from jaxsched._lib.streams import require_regular
from jaxsched.workloads.traces._errors import reason

# A file that expands more than this is a bomb, not a trace: text of numbers shrinks tenfold.
_MOST_EXPANSION = 200
_ALWAYS_ALLOWED = 2**26  # bytes

_OF_DAMAGE = (None, errno.EINVAL)  # the latter of a place before the file that a zip names
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, MemoryError)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file for reading, expanded.

    Raises:
      ValueError: it is no regular file or a damaged one, or expands beyond reason.
      OSError: it cannot be opened.
    """
    require_regular(path)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        start = file.read(6)
        file.seek(0)
        for magic, (name, expanded) in _COMPRESSIONS.items():
            if start.startswith(magic):
                limit = most_expanded(path.stat().st_size)
                with _named(name):
                    inner = stack.enter_context(expanded(file))
                file = io.BufferedReader(_Bounded(inner, name, limit))
                break
        yield file


def most_expanded(size: int) -> int:
    """Bytes that a file of ``size`` bytes may expand to."""
    return max(_ALWAYS_ALLOWED, _MOST_EXPANSION * size)


class _Bounded(io.RawIOBase):
    """What an expanding reader gives, up to a limit, with one kind of error."""

    def __init__(self, inner: Any, name: str, limit: int):
        self._inner, self._name, self._limit = inner, name, limit
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _named(self._name):
            data = self._inner.read(len(buffer))
        self._given += len(data)
        if self._given > self._limit:
            raise ValueError(
                f"expands to more than {self._limit} bytes, over {_MOST_EXPANSION} times its size; "
                "expand it first if it is no mistake"
            )
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_DAMAGE:  # but of the file system
            raise
        raise _damaged(name, error) from error
    except _DAMAGED as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> ValueError:
    return ValueError(f"is not an intact {name} file: {reason(error)}")


def _zstd(file: Any) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError('zstd files need pyarrow: pip install "jaxsched[traces]"') from error
    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


@contextlib.contextmanager
def _only_member(file: Any) -> Iterator[Any]:
    """Open the one file that a zip archive holds."""
    with zipfile.ZipFile(file) as archive:
        names = [each.filename for each in archive.infolist() if not each.is_dir()]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if len(names) != 1:
            held = ", ".join(map(shown, names[:3])) or "none"
            raise ValueError(f"is an archive of {len(names)} files ({held}); expected one")
        with archive.open(names[0]) as member:
            yield member


_COMPRESSIONS: dict[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    b"PK\x03\x04": ("zip", _only_member),
}
