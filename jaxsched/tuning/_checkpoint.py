"""The state of a tuning run in one file, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._storage import load_arrays, save_arrays

_FILE = "tuning.npz"
_KIND = "Tuning"


def fingerprint(settings: str, *trees: Any) -> str:
    """Digest of settings and of the structure and every bit of some pytrees."""
    digest = hashlib.sha256(settings.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        array = _on_host(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


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
    partial = folder / f".{_FILE}.{os.getpid()}"
    try:
        save_arrays(partial, _KIND, {"run": np.array(run), **leaves})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(folder / _FILE)
    finally:
        partial.unlink(missing_ok=True)


def load(folder: Path, run: str, like: Any) -> Any:
    """Read what :func:`save` wrote.

    Args:
      folder: where to look.
      run: the fingerprint of this run.
      like: a pytree of the structure to be read.

    Returns:
      The state, or None if there is no checkpoint.

    Raises:
      ValueError: the checkpoint belongs to another run.
    """
    path = folder / _FILE
    if not path.exists():
        return None
    leaves, structure = jax.tree.flatten(like)
    names = [f"leaf_{number}" for number in range(len(leaves))]
    found = str(load_arrays(path, _KIND, ("run",))["run"])
    if found != run:
        raise ValueError(
            f"{path}: belongs to a run with another rule, estimator, optimizer, key or instances; "
            "resume that one, or choose another checkpoint_dir"
        )
    arrays = load_arrays(path, _KIND, tuple(names))
    return jax.tree.unflatten(
        structure, [_as(leaf, arrays[name]) for leaf, name in zip(leaves, names, strict=True)]
    )


def _on_host(leaf: Any) -> np.ndarray:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _as(leaf: Any, array: np.ndarray) -> Any:
    if not isinstance(leaf, jax.Array):
        return array
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    return jnp.asarray(array)
