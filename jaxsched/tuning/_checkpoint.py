"""The state of a tuning run in one file, written whole or not at all."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.errors import in_file, wrong_dtype, wrong_shape
from jaxsched._lib.npz import ANY, TEXTS, open_arrays, write_arrays
from jaxsched._lib.writing import write_whole

_FILE = "tuning.npz"
_LEFT_BY_KILLS = ".tuning.*"
_KIND = "Tuning"


def fingerprint(*parts: Any) -> str:
    """Digest of values: every bit of arrays, every field of dataclasses, functions by name.

    Unlike the leaves of a pytree this holds what is static: names of features, objectives with
    the arguments that a ``functools.partial`` gives them. What a closure holds is not seen.
    """
    return hashlib.sha256(_described(parts).encode()).hexdigest()


def _described(value: Any) -> str:
    if isinstance(value, (jax.Array, np.ndarray)):
        array = _on_host(value)
        bits = hashlib.sha256(array.tobytes()).hexdigest()
        return f"{array.dtype}{array.shape}:{bits}"
    if isinstance(value, (str, bytes, int, float, np.generic, type(None))):
        return repr(value)
    if isinstance(value, functools.partial):
        return f"partial{_described((value.func, value.args, value.keywords))}"
    if isinstance(value, Mapping):
        return _described(sorted((str(key), _described(each)) for key, each in value.items()))
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}({', '.join(map(_described, value))})"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    inside = {field.name: getattr(value, field.name) for field in fields}
    if not fields and not jax.tree_util.all_leaves([value]):
        inside = dict(jax.tree_util.tree_leaves_with_path(value))
    return _described(type(value)) + _described(inside)


def save(folder: Path, run: str, state: Any) -> None:
    """Replace the checkpoint in ``folder``.

    The new file gets its name only when it is on the disk, so a kill at any moment leaves the
    earlier one or the new one.

    Args:
      folder: is made if absent.
      run: the :func:`fingerprint` of what the run was started with.
      state: a pytree of arrays and numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    leaves = {
        f"leaf_{number}": _on_host(leaf) for number, leaf in enumerate(jax.tree.leaves(state))
    }

    def write(partial: Path) -> None:
        write_arrays(partial, _KIND, {"run": np.array(run), **leaves})
        with partial.open("rb") as file:
            os.fsync(file.fileno())

    write_whole(folder / _FILE, write)


def load(folder: Path, run: str, like: Any) -> Any:
    """Read what :func:`save` wrote, and remove what earlier runs left when they were killed.

    Args:
      folder: where to look.
      run: the fingerprint of this run.
      like: a pytree of the structure to be read, and of its dtypes and shapes. Empty arrays stand
        for any length.

    Returns:
      The state, or None if there is no checkpoint.

    Raises:
      ValueError: the checkpoint is damaged or belongs to another run.
    """
    for left in folder.glob(_LEFT_BY_KILLS):
        left.unlink(missing_ok=True)
    path = folder / _FILE
    if not path.exists():
        return None
    leaves, structure = jax.tree.flatten(like)
    names = [f"leaf_{number}" for number in range(len(leaves))]
    with open_arrays(path, _KIND) as file:
        if str(file.read("run", TEXTS)) != run:
            raise ValueError(
                f"{path}: belongs to a run with another rule, estimator, objective, optimizer, key "
                "or instances; resume that one, or choose another checkpoint_dir"
            )
        file.require_only(("run", *names))
        arrays = [file.read(name, ANY) for name in names]
    with in_file(path):
        for name, leaf, array in zip(names, leaves, arrays, strict=True):
            _require_like(name, array, _on_host(leaf))
    return jax.tree.unflatten(structure, map(_as, leaves, arrays))


def _require_like(name: str, array: np.ndarray, like: np.ndarray) -> None:
    if array.dtype != like.dtype:
        raise wrong_dtype(name, array.dtype, f"expected {like.dtype}")
    if array.shape != like.shape and not (like.shape == (0,) and array.ndim == 1):
        raise wrong_shape(name, array.shape, f"expected {like.shape}")


def _on_host(leaf: Any) -> np.ndarray:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _as(leaf: Any, array: np.ndarray) -> Any:
    if not isinstance(leaf, jax.Array):
        return array
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    return jnp.asarray(array)
