"""A sweep's folder: a manifest, and one Parquet file a finished shard.

Any number of processes, on any number of hosts that share the folder, may write to it at once and
need no locks: each file is written under a name of its own and then renamed, so that it is there
whole or not at all, and two processes that compute the same shard write the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched._lib.manifest import manifest
from jaxsched._lib.writing import write_once, write_whole
from jaxsched.studies.sweeps._shards import Shard

_MANIFEST = "manifest.json"
_ABOUT = b"jaxsched"


def require_extra() -> None:
    """Raise before any work where Parquet files could not be written after it."""
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError('sweeps need pyarrow: pip install "jaxsched[sweep]"') from error
    del pandas


def open_folder(folder: Path, grid: dict[str, Any]) -> None:
    """Start a folder for ``grid``, or make sure that it is the one the folder holds.

    Raises:
      ValueError: the folder holds shards of another grid, made by other versions or on another
        kind of device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {**manifest("js.run_sweep", grid["seed"]), "grid": grid}
    _write(folder / _MANIFEST, write_once, lambda path: path.write_text(_as_json(content)))
    kept = read_manifest(folder)
    if different := [name for name in grid if kept["grid"].get(name) != grid[name]]:
        name = different[0]
        raise ValueError(
            f"{folder}: holds a sweep with other {', '.join(different)}: {name} was "
            f"{kept['grid'].get(name)!r}, now {grid[name]!r}; choose another folder, or restore "
            "the setting"
        )
    before, now = _made_with(kept), _made_with(content)
    if changes := [
        f"{name} was {before[name]}, now {now[name]}" for name in now if before[name] != now[name]
    ]:
        raise ValueError(
            f"{folder}: made with something else: {'; '.join(changes)}. Numbers may differ, and "
            "are not mixed: choose another folder, or go back to what it was made with"
        )


def _made_with(content: dict[str, Any]) -> dict[str, str]:
    """List what the numbers of a sweep may depend on, beside its grid."""
    names = ("jaxsched", "jax", "jaxlib", "numpy")
    versions = {name: content["versions"][name] for name in names}
    return {**versions, "the device": content["device"]["platform"]}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what the folder holds."""
    path = folder / _MANIFEST
    if not path.exists():
        raise ValueError(f"{folder}: holds no sweep; js.run_sweep(grid, out_dir) makes one")
    return json.loads(path.read_text())


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def write_shard(folder: Path, shard: Shard, columns: dict[str, Any], wall_s: float) -> None:
    """Write a shard's rows whole or not at all, with their hash and the time they took."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(columns)
    about = json.dumps({"sha256": _content_hash(columns), "wall_s": round(wall_s, 3)}).encode()
    table = table.replace_schema_metadata({_ABOUT: about})
    _write(folder / shard.file_name, write_whole, lambda path: parquet.write_table(table, path))


def _write(path: Path, how: Callable[..., None], write: Callable[[Path], object]) -> None:
    """Write a file unless another process is done with all of them and has tidied up."""
    try:
        how(path, write)
    except FileNotFoundError:
        if not path.exists():
            raise


def _content_hash(columns: dict[str, Any]) -> str:
    """Hash names and values, which do not depend on when or in how many runs they were made."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(name.encode())
        values = np.asarray(values)
        is_text = values.dtype.kind in "OU"
        digest.update("\n".join(values).encode() if is_text else values.tobytes())
    return digest.hexdigest()


def read_shard(folder: Path, shard: Shard, kept: dict[str, Any]) -> Any:
    """Read a shard's rows as a DataFrame, and make sure that they are those written.

    Raises:
      ValueError: they are not; the shard is named.
    """
    from pyarrow import parquet

    path = folder / shard.file_name
    about = _about(path)
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise _damaged(path) from error
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    written = kept.get("shards", {}).get(shard.file_name, about)
    if not _content_hash(columns) == about["sha256"] == written["sha256"]:
        raise _damaged(path)
    return table.replace_schema_metadata(None).to_pandas()


def _about(path: Path) -> dict[str, Any]:
    from pyarrow import parquet

    try:
        return json.loads(parquet.read_schema(path).metadata[_ABOUT])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path}: damaged, its rows are not those that were written; delete it and run the sweep "
        "again, which computes it anew"
    )


def finish(folder: Path, shards: list[Shard]) -> None:
    """Add every shard's hash and wall time to the manifest, and tidy up what kills have left."""
    about = {shard.file_name: _about(folder / shard.file_name) for shard in shards}
    joined = "".join(each["sha256"] for each in about.values())
    content = {
        **read_manifest(folder),
        "sha256": hashlib.sha256(joined.encode()).hexdigest(),
        "wall_s": round(sum(each["wall_s"] for each in about.values()), 3),
        "shards": about,
    }
    path = folder / _MANIFEST
    _write(path, write_whole, lambda partial: partial.write_text(_as_json(content)))
    for pattern in (".shard-*.parquet", ".manifest.*.json"):
        for left_by_a_kill in folder.glob(pattern):
            left_by_a_kill.unlink(missing_ok=True)


def missing(folder: Path, shards: list[Shard]) -> list[Shard]:
    """Shards that are still to be computed."""
    return [shard for shard in shards if not (folder / shard.file_name).exists()]
