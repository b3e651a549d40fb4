"""Arrays in an npz file, labelled with the type they belong to; damage of any kind is one error."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
import zipfile
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsched._lib.errors import bounded, in_file, shown
from jaxsched._lib.streams import require_regular
from jaxsched._lib.writing import write_whole

#: Kinds of dtypes, as numpy letters them, that a member may have.
BOOLS, INTEGERS, FLOATS, NUMBERS, TEXTS = "b", "iu", "f", "iuf", "U"
ANY = BOOLS + NUMBERS + TEXTS

_WORDS = {BOOLS: "truth values", INTEGERS: "integers", FLOATS: "floats", NUMBERS: "numbers"}
_KIND = "jaxsched_kind"
_SUFFIX = ".npy"
_READ = 2**20  # bytes
_LAST_LETTER, _SURROGATES = 0x10FFFF, 0xD800  # of Unicode

# What expands more is a bomb: numbers shrink several times, but a file of equal ones without end.
_MOST_EXPANSION = 200
_ALWAYS_ALLOWED = 2**28  # bytes


def save_arrays(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Any]) -> None:
    """Write ``arrays`` to ``path``, whole or not at all; devices and pipes are written to."""
    write_whole(Path(path), lambda partial: write_arrays(partial, kind, arrays))


def write_arrays(path: Path, kind: str, arrays: Mapping[str, Any]) -> None:
    """Fill a new file exactly as named (numpy alone would append ``.npz``)."""
    members: dict[str, Any] = {_KIND: np.array(kind)}
    members |= {name: np.asarray(each) for name, each in arrays.items()}
    size = sum(each.nbytes for each in members.values())
    with path.open("wb") as file:
        np.savez_compressed(file, **members)
        is_readable = size <= _most_expanded(file.tell())
    if not is_readable:  # all alike; the loader would take it for a bomb
        with path.open("wb") as file:
            np.savez(file, **members)


def load_arrays(
    path: str | os.PathLike[str],
    kind: str,
    fields: Mapping[str, str],
    optional: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Read back what :func:`save_arrays` wrote.

    Args:
      path: the file.
      kind: the type that it has to belong to.
      fields: members that it has to have, each with the kinds of dtypes that it may have.
      optional: members that it may have beside them, likewise; no others are taken.

    Raises:
      ValueError: the file is damaged, of another kind, or has other members. The message names it.
      OSError: it cannot be opened.
    """
    with open_arrays(path, kind) as file:
        known = {**fields, **(optional or {})}
        file.require_only(known)
        present = [*fields, *(name for name in optional or () if name in file.names)]
        return {name: file.read(name, known[name]) for name in present}


@contextlib.contextmanager
def open_arrays(path: str | os.PathLike[str], kind: str) -> Iterator[ArrayFile]:
    """Open what :func:`save_arrays` wrote, to be read member by member; see :func:`load_arrays`."""
    path = Path(path)
    with in_file(path):
        require_regular(path)
    with path.open("rb") as file:
        opened = ArrayFile(path, kind, file)
        held = str(opened.read(_KIND, TEXTS)) if _KIND in opened.names else "something else"
        if held != kind:
            raise ValueError(f"{path}: holds {bounded(held)}, expected {kind}")
        yield opened


class _Member(NamedTuple):
    """Where the data of a member begin, and what they are, by its header."""

    begin: int
    size: int
    shape: tuple[int, ...]
    order: Any
    dtype: np.dtype


class ArrayFile:
    """An npz file whose list of members has been read.

    Attributes:
      names: of its members.
    """

    def __init__(self, path: Path, kind: str, file: Any):
        self._path, self._type = path, kind
        with self._intact():
            self._archive = zipfile.ZipFile(file)
            infos = self._archive.infolist()
        self._infos = {info.filename.removesuffix(_SUFFIX): info for info in infos}
        self.names = tuple(name for name in self._infos)
        if len(self._infos) < len(infos):
            raise self._damaged("a member is there twice")
        size, most = sum(info.file_size for info in infos), _most_expanded(path.stat().st_size)
        if size > most:
            raise ValueError(
                f"{path}: expands to {size} bytes, which is over {most}; no file written by "
                "jaxsched expands so much"
            )

    def require_only(self, names: Container[str]) -> None:
        """Raise if there are members of other names."""
        for name in self.names:
            if name not in names and name != _KIND:
                unknown = f"the member {shown(name)}, which {self._type} does not have"
                raise ValueError(f"{self._path}: holds {unknown}")

    def read(self, name: str, kinds: str) -> np.ndarray:
        """Read a member, of one of the kinds of dtypes; its size is checked before its data."""
        if name not in self._infos:
            raise ValueError(f"{self._path}: lacks the field {name!r} of {self._type}")
        with self._intact(), self._archive.open(self._infos[name]) as file:
            member = _header(file, self._infos[name].file_size)
        if member.dtype.kind not in kinds:
            expected = _WORDS.get(kinds, "text" if kinds == TEXTS else "numbers or text")
            raise ValueError(
                f"{self._path}: {name} has dtype {bounded(str(member.dtype))}; expected {expected}"
            )
        with self._intact(), self._archive.open(self._infos[name]) as file:
            file.read(member.begin)
            return _data(file, member)

    @contextlib.contextmanager
    def _intact(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # damage can make zipfile, zlib and numpy raise anything
            raise self._damaged(f"{type(error).__name__}: {error}") from error

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._path}: not an npz file written by jaxsched, or a damaged one "
            f"({bounded(reason)})"
        )


def _most_expanded(size: int) -> int:
    """Bytes that a file of ``size`` bytes may expand to."""
    return max(_ALWAYS_ALLOWED, _MOST_EXPANSION * size)


def _header(file: Any, size: int) -> _Member:
    """Read the header of a member that takes ``size`` bytes in all."""
    versions = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    read = versions[np.lib.format.read_magic(file)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of headers that another Python wrote
        shape, is_fortran, dtype = read(file)
    begin = file.tell()
    if dtype.itemsize * math.prod(shape) != size - begin or min(shape, default=0) < 0:
        raise ValueError(f"a member of {size} bytes cannot hold {dtype} of shape {shape}")
    return _Member(begin, size - begin, shape, "F" if is_fortran else "C", dtype)


def _data(file: Any, member: _Member) -> np.ndarray:
    """Read the data of a member in its own memory, so that they are not held twice."""
    held, begin = np.empty(member.size, np.uint8), 0
    while part := file.read(_READ):  # at the end of which its checksum is compared
        held[begin : begin + len(part)] = np.frombuffer(part, np.uint8)
        begin += len(part)
    if begin < member.size:
        raise EOFError("a member ends early")
    array = held.view(member.dtype).reshape(member.shape, order=member.order)
    if member.dtype.kind == "b" and held.max(initial=0) > 1:
        raise ValueError("a truth value is neither 0 nor 1")
    if member.dtype.kind == "U":
        letters = held.view(np.dtype(np.uint32).newbyteorder(member.dtype.byteorder))
        if (letters > _LAST_LETTER).any() or (letters >> 11 == _SURROGATES >> 11).any():
            raise ValueError("a text holds what is no letter")
    return array.astype(member.dtype.newbyteorder("="), copy=False)
