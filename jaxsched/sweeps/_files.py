"""A sweep's folder: a manifest, and one Parquet file a finished shard."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched._manifest import manifest
from jaxsched._storage import write_whole
from jaxsched.sweeps._grid import Shard

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
      ValueError: the folder holds shards of another grid or another version of jaxsched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = manifest("js.run_sweep", grid["seed"])
    if (folder / _MANIFEST).exists():
        kept = read_manifest(folder)
        _require_same(folder, kept["grid"], grid)
        versions = [each["versions"]["jaxsched"] for each in (kept, about)]
        if versions[0] != versions[1]:
            raise ValueError(
                f"{folder}: written by jaxsched {versions[0]}, this is {versions[1]}; simulated "
                "numbers may differ: choose another folder"
            )
        for left_by_a_kill in folder.glob(".*.parquet"):
            left_by_a_kill.unlink()
        return
    _write_manifest(folder, {**about, "grid": grid})


def _require_same(folder: Path, kept: dict[str, Any], grid: dict[str, Any]) -> None:
    different = [name for name in grid if kept.get(name) != grid[name]]
    if different:
        name = different[0]
        raise ValueError(
            f"{folder}: holds a sweep with other {', '.join(different)}: {name} was "
            f"{kept.get(name)!r}, now {grid[name]!r}; choose another folder, or restore the setting"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what the folder holds."""
    path = folder / _MANIFEST
    if not path.exists():
        raise ValueError(f"{folder}: holds no sweep; js.run_sweep(grid, out_dir) makes one")
    return json.loads(path.read_text())


def _write_manifest(folder: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    write_whole(folder / _MANIFEST, lambda path: path.write_text(text))


def write_shard(folder: Path, shard: Shard, columns: dict[str, Any], wall_s: float) -> None:
    """Write a shard's rows whole or not at all, with their hash and the time they took."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(columns)
    about = json.dumps({"sha256": _content_hash(columns), "wall_s": round(wall_s, 3)}).encode()
    table = table.replace_schema_metadata({_ABOUT: about})
    write_whole(folder / shard.file_name, lambda path: parquet.write_table(table, path))


def _content_hash(columns: dict[str, Any]) -> str:
    """Hash names and values, which do not depend on when or in how many runs they were made."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(name.encode())
        values = np.asarray(values)
        is_text = values.dtype.kind in "OU"
        digest.update("\n".join(values).encode() if is_text else values.tobytes())
    return digest.hexdigest()


def finish(folder: Path, shards: list[Shard]) -> None:
    """Add every shard's hash and wall time to the manifest."""
    from pyarrow import parquet

    about = {
        shard.file_name: json.loads(parquet.read_schema(folder / shard.file_name).metadata[_ABOUT])
        for shard in shards
    }
    joined = "".join(each["sha256"] for each in about.values())
    _write_manifest(
        folder,
        {
            **read_manifest(folder),
            "sha256": hashlib.sha256(joined.encode()).hexdigest(),
            "wall_s": round(sum(each["wall_s"] for each in about.values()), 3),
            "shards": about,
        },
    )


def missing(folder: Path, shards: list[Shard]) -> list[Shard]:
    """Shards that are still to be computed."""
    return [shard for shard in shards if not (folder / shard.file_name).exists()]
