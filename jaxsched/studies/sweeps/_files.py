"""A sweep's folder: a manifest, and one Parquet file a finished shard.

Any number of processes, on any number of hosts that share the folder, may write to it at once and
need no locks: each file is written under a name of its own and then renamed, so that it is there
whole or not at all, and two processes that compute the same shard write the same rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched._lib.documents import (
    NUMBER,
    PLAIN,
    TEXT,
    Fields,
    Rows,
    Value,
    is_number,
    parse_json,
    read_json,
)
from jaxsched._lib.errors import bounded, in_file, shown
from jaxsched._lib.manifest import manifest
from jaxsched._lib.writing import write_once, write_whole
from jaxsched.studies.sweeps._shards import Shard, shards

_MANIFEST = "manifest.json"
_ABOUT = b"jaxsched"
_LONGEST_REASON = 300

_COUNT = Value("an integer >= 1", lambda value: is_number(value) and value == int(value) >= 1)
_TOKENS = Value("tokens, or server", lambda value: value == "server" or _COUNT.is_right(value))
_SETTING = Value(
    "a list of numbers, words or truth values that is not empty",
    lambda values: (
        isinstance(values, list)
        and values != []
        and all(isinstance(value, bool | str) or is_number(value) for value in values)
    ),
)
_NAMED = Fields({"name": TEXT}, others=PLAIN)
_ABOUT_SHARD = Fields({"sha256": TEXT, "wall_s": NUMBER})
_SCHEMA = Fields(
    {
        "versions": Fields(
            dict.fromkeys(("jaxsched", "jax", "jaxlib", "numpy"), TEXT), others=TEXT
        ),
        "device": Fields({"platform": TEXT}, others=PLAIN),
        "grid": Fields(
            {
                "workloads": Rows(_NAMED),
                "rules": Rows(_NAMED),
                "num_requests": Rows(_COUNT),
                "kv_capacity": Rows(_TOKENS),
                "servers": Rows(TEXT),
                "num_instances": _COUNT,
                "keep": TEXT,
            },
            optional={
                "max_num_seqs": Rows(_COUNT),
                "max_num_batched_tokens": Rows(_COUNT),
                "settings": Fields(others=_SETTING),
                "files": Fields(others=Fields({"sha256": TEXT}, {"kv_capacity": _COUNT})),
            },
            others=PLAIN,
        ),
    },
    optional={"shards": Fields(others=_ABOUT_SHARD)},
    others=PLAIN,
)


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
    _require_same_files(folder, kept["grid"], grid)
    names = dict.fromkeys([*grid, *kept["grid"]])  # also what the grid no longer has
    if different := [name for name in names if kept["grid"].get(name) != grid.get(name)]:
        name = different[0]
        raise ValueError(
            f"{folder}: holds a sweep with other {', '.join(different)}: {name} was "
            f"{shown(kept['grid'].get(name))}, now {shown(grid.get(name))}; choose another folder, "
            "or restore the setting"
        )
    before, now = _made_with(kept), _made_with(content)
    if changes := [
        f"{name} was {before[name]}, now {now[name]}" for name in now if before[name] != now[name]
    ]:
        raise ValueError(
            f"{folder}: made with something else: {'; '.join(changes)}. Numbers may differ, and "
            "are not mixed: choose another folder, or go back to what it was made with"
        )


def _require_same_files(folder: Path, kept: dict[str, Any], grid: dict[str, Any]) -> None:
    """Raise where a file of the same path holds something else now."""
    before = kept.get("files", {})
    for path, about in grid.get("files", {}).items():
        if path in before and before[path] != about:
            raise ValueError(
                f"{folder}: {path} has changed since this sweep began; restore the file, or choose "
                "another folder"
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
    with _or_restore_it():
        return read_json(path, _SCHEMA)


def kept_shards(folder: Path, grid: dict[str, Any]) -> list[Shard]:
    """List the shards of the grid that the folder's manifest holds."""
    try:
        return shards(grid)
    except Exception as error:  # options that a worst case does not take can raise anything
        with _or_restore_it(), in_file(folder / _MANIFEST):
            raise ValueError(f"grid: {bounded(str(error), _LONGEST_REASON)}") from error


@contextlib.contextmanager
def _or_restore_it() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        remedy = "restore the file, or run the sweep into another folder"
        raise ValueError(f"{error}; {remedy}") from error


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
      OSError: it cannot be opened.
    """
    from pyarrow import parquet

    path = folder / shard.file_name
    about = _about(path)
    written = kept.get("shards", {}).get(shard.file_name, about)
    with _damaged(path):
        # What expands to more is not read.
        count = 1 if kept["grid"]["keep"] == "moments" else shard.end - shard.begin
        num_rows = count * len(kept["grid"]["rules"])
        if parquet.read_metadata(path).num_rows != num_rows:
            raise ValueError(f"expected {num_rows} rows")
        table = parquet.read_table(path)
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        if not _content_hash(columns) == about["sha256"] == written["sha256"]:
            raise ValueError("expected another hash")
        return table.replace_schema_metadata(None).to_pandas()


def _about(path: Path) -> dict[str, Any]:
    from pyarrow import parquet

    with _damaged(path):
        about = parse_json(parquet.read_schema(path).metadata[_ABOUT].decode())
        _ABOUT_SHARD.check(about, "")
        return about


@contextlib.contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Say of whatever damage makes pyarrow raise that the file is damaged."""
    with path.open("rb"):  # or an error of its own
        pass
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path}: damaged, its rows are not those that were written; delete it and run the "
            "sweep again, which computes it anew"
        ) from error


def finish(folder: Path, all_shards: list[Shard]) -> None:
    """Add every shard's hash and wall time to the manifest, and tidy up what kills have left."""
    about = {shard.file_name: _about(folder / shard.file_name) for shard in all_shards}
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


def missing(folder: Path, wanted: list[Shard]) -> list[Shard]:
    """Shards that are still to be computed."""
    return [shard for shard in wanted if not (folder / shard.file_name).exists()]
