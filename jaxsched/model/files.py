"""Instances and requests in files: npz, and CSV or JSON by the name of the file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched._lib import npz
from jaxsched._lib.errors import InputError, first_true, in_file
from jaxsched._lib.streams import require_regular
from jaxsched._lib.utf8 import bad_byte
from jaxsched._lib.writing import write_whole
from jaxsched.model.csv_files import read_csv, written_csv
from jaxsched.model.json_files import read_json, written_json

_WRITTEN = {".csv": written_csv, ".json": written_json}
_READ = {".csv": read_csv, ".json": read_json}


class Loaded(dict[str, np.ndarray]):
    """Fields of a file, by name.

    Attributes:
      path: the file.
      lines: of each request its line, ``[.., n]``; or of each field; None where there are none.
    """

    path: str | os.PathLike[str]
    lines: np.ndarray | Mapping[str, int] | None = None

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Put the file, and the line where it has lines, before what is found wrong."""
        with in_file(self.path):
            try:
                yield
            except InputError as error:
                line = self._line_of(error)
                if line is None:
                    raise
                raise ValueError(f"line {line}: {error}") from error

    def _line_of(self, error: InputError) -> int | None:
        if not isinstance(self.lines, np.ndarray):
            return None if self.lines is None else self.lines.get(error.argument)
        position = error.position
        if not position and "kv_capacity" in self:  # the request that never fits has a name only
            size = self["prompt_tokens"] + self["output_tokens"]
            position = first_true(size > np.expand_dims(self["kv_capacity"], -1)) or ()
        if len(position) < self.lines.ndim:
            position = (*position, *[0] * (self.lines.ndim - len(position)))
        return int(self.lines[position]) or None


def save_fields(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Any]) -> None:
    """Write fields as CSV or JSON where the name ends so, else as npz."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITTEN:
        npz.save_arrays(path, kind, arrays)
        return
    text = _WRITTEN[suffix](kind, {name: np.asarray(each) for name, each in arrays.items()})
    write_whole(Path(path), lambda partial: partial.write_text(text, "utf-8", newline=""))


def load_fields(
    path: str | os.PathLike[str],
    kind: str,
    fields: Mapping[str, str],
    optional: Mapping[str, str] | None = None,
) -> Loaded:
    """Read back what :func:`save_fields` wrote; see :func:`jaxsched._lib.npz.load_arrays`."""
    suffix = Path(path).suffix.lower()
    if suffix not in _READ:
        return _loaded(path, npz.load_arrays(path, kind, fields, optional))
    with in_file(path):
        require_regular(Path(path))
    with Path(path).open(encoding="utf-8-sig", newline="") as file, in_file(path):
        try:
            return _loaded(path, *_READ[suffix](file, kind, fields, optional or {}))
        except UnicodeDecodeError as error:
            with Path(path).open("rb") as again:
                raise ValueError(bad_byte(again)) from error


def _loaded(path: Any, arrays: Mapping[str, np.ndarray], lines: Any = None) -> Loaded:
    loaded = Loaded(arrays)
    loaded.path, loaded.lines = path, lines
    return loaded
