"""Files that a grid names: traces, servers and saved rules. A sweep must not mix two versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxsched import servers
from jaxsched._lib.errors import in_file
from jaxsched._lib.streams import require_regular
from jaxsched.servers.named import PRESET_KV_CAPACITY

_RULE = "file:"


def is_server_file(server: Any) -> bool:
    """Tell a path from a name, as :func:`jaxsched.servers.get` does."""
    return isinstance(server, str) and server.endswith(".json")


def sha256(path: str) -> str:
    """Hash a file's content.

    Raises:
      ValueError: it is a pipe or a device.
      OSError: it cannot be read.
    """
    with in_file(path):
        require_regular(Path(path))
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def about_files(grid: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Hash the files of rules and servers, by path; of servers also tell the KV capacity.

    Raises:
      ValueError: a file holds no server.
      OSError: one cannot be read.
    """
    of_servers = list(filter(is_server_file, grid["servers"]))
    paths = [*of_servers, *_rule_files(grid["rules"])]
    about: dict[str, dict[str, Any]] = {path: {"sha256": sha256(path)} for path in paths}
    for path in of_servers:
        if (capacity := servers.load(path).kv_capacity) is not None:
            about[path]["kv_capacity"] = int(capacity)
    return about


def _rule_files(value: Any) -> Iterator[str]:
    """Find paths of saved rules, also those that are options of other rules."""
    if isinstance(value, str) and value.startswith(_RULE):
        yield value.removeprefix(_RULE)
    elif isinstance(value, Mapping):
        yield from _rule_files(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _rule_files(each)


def kv_capacity_of(server: str, grid: Mapping[str, Any]) -> int:
    """Tell what a server holds; of one in a file, what it held when the grid was checked."""
    if is_server_file(server):
        return grid["files"][server]["kv_capacity"]
    return PRESET_KV_CAPACITY[server]


def require_unchanged(grid: Mapping[str, Any]) -> None:
    """Raise where a file is not what it was when the grid was checked.

    Raises:
      ValueError: one is not; it is named.
      OSError: one cannot be read.
    """
    hashes = {path: each["sha256"] for path, each in grid.get("files", {}).items()}
    hashes |= {each["path"]: each["sha256"] for each in grid["workloads"] if "sha256" in each}
    for path, before in hashes.items():
        if sha256(path) != before:
            raise ValueError(
                f"{path}: changed while the sweep ran; restore it, and run the sweep again"
            )
