"""Arrays of rules in files, some members at a time."""

from __future__ import annotations

import os

import numpy as np

from jaxsched._lib.npz import ANY, open_arrays, save_arrays

__all__ = ["load_arrays", "save_arrays"]


def load_arrays(
    path: str | os.PathLike[str],
    kind: str,
    fields: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """Read some members of what :func:`save_arrays` wrote."""
    with open_arrays(path, kind) as file:
        present = [name for name in optional if name in file.names]
        return {name: file.read(name, ANY) for name in (*fields, *present)}
