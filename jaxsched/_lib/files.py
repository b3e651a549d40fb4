"""Files: arrays labelled with the type they belong to, and writing whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_KIND = "jaxsched_kind"


def save_arrays(path: str | os.PathLike[str], kind: str, arrays: dict[str, Any]) -> None:
    """Write ``arrays`` to ``path`` exactly as named (numpy alone would append ``.npz``)."""
    with Path(path).open("wb") as file:
        np.savez_compressed(file, **{_KIND: np.array(kind)}, **arrays)


def load_arrays(
    path: str | os.PathLike[str],
    kind: str,
    fields: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """Read back what :func:`save_arrays` wrote; a file of another kind is an error."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ValueError as error:
        raise ValueError(f"{path}: not an npz file written by jaxsched") from error
    held = str(arrays.pop(_KIND, "something else"))
    if held != kind:
        raise ValueError(f"{path}: holds {held}, expected {kind}")
    if missing := [name for name in fields if name not in arrays]:
        raise ValueError(f"{path}: lacks the field {missing[0]!r} of {kind}")
    present = [name for name in optional if name in arrays]
    return {name: arrays[name] for name in (*fields, *present)}


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file beside ``path``, then give it that name."""
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
