"""The one place that cuts many instances into chunks and spreads them over threads and devices."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.core import eval_context

# Type checkers take jax.Device for a variable and do not know the flags of jax.config.
Device = Any
_config: Any = jax.config

_HOST_REQUESTS_PER_CHUNK = 2**18  # a few MB for each int64 temporary


def map_chunks(
    function: Callable[..., Any],
    *trees: Any,
    leading: tuple[int, ...],
    chunk_size: int,
    devices: list[Device] | None = None,
) -> Any:
    """Apply ``function`` to chunks of instances and join what it returns on the host.

    Args:
      function: given chunks ``[rows, ..]`` of the trees, returns a pytree of ``[rows, ..]``.
      trees: pytrees whose leaves all have the leading axes ``leading``.
      leading: shape of the axes to map over.
      chunk_size: instances in a chunk.
      devices: where given, ``function`` runs jax programs: chunks go to these devices from
        threads, and the last chunk is filled up by repeating its last instance, so that every
        call has one shape.

    Returns:
      The pytree of results as numpy arrays, with the leading axes put back.
    """
    num_instances = math.prod(leading)
    flat = jax.tree.map(
        lambda leaf: leaf.reshape(num_instances, *leaf.shape[len(leading) :]), trees
    )
    begins = range(0, max(num_instances, 1), chunk_size)
    chunks = _chunks(flat, begins, chunk_size)
    if devices is None:
        parts = [function(*chunk) for chunk in chunks]
    else:
        parts = _on_devices(function, chunks, len(begins), chunk_size, devices)
    return _joined(parts, leading)


def map_instances(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply a numpy ``function`` to chunks small enough that its temporaries stay small.

    Args:
      function: given chunks ``[rows, ..]`` of the trees (numpy leaves), returns a pytree of
        ``[rows, ..]``.
      trees: an :class:`~jaxsched.Instance` ``[.., n]``, and others with its leading axes.

    Returns:
      What ``function`` returns, joined, with the leading axes put back.
    """
    trees = jax.tree.map(np.asarray, trees)
    *leading, n = trees[0].prompt_tokens.shape
    chunk_size = max(1, _HOST_REQUESTS_PER_CHUNK // n)
    return map_chunks(function, *trees, leading=tuple(leading), chunk_size=chunk_size)


def num_threads(devices: list[Device]) -> int:
    """Threads that keep ``devices`` busy: the virtual devices of a CPU share its cores."""
    if devices[0].platform != "cpu":
        return len(devices)
    return max(
        len(devices),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def local_devices() -> list[Device]:
    """List the device that the user has made the default, otherwise all local ones."""
    chosen = _config.jax_default_device
    if chosen is None:
        return jax.local_devices()
    return [jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen]


def _chunks(flat: Any, begins: range, size: int) -> Iterator[Any]:
    for begin in begins:
        yield jax.tree.map(lambda leaf, begin=begin: leaf[begin : begin + size], flat)


def _on_devices(
    function: Callable[..., Any],
    chunks: Iterator[Any],
    num_chunks: int,
    chunk_size: int,
    devices: list[Device],
) -> list[Any]:
    is_x64 = _config.jax_enable_x64  # a caller's setting ends at its own thread

    def run(numbered: tuple[int, Any]) -> Any:
        number, chunk = numbered
        device = devices[number % len(devices)]
        # Also under a caller's trace the arrays here are numbers, to be computed with now.
        with jax.default_device(device), jax.enable_x64(is_x64), eval_context():
            rows = jax.tree.leaves(chunk)[0].shape[0]
            result = function(*jax.tree.map(lambda leaf: _filled(leaf, chunk_size), chunk))
            return jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], result)

    if num_chunks == 1:
        return [run((0, next(chunks)))]
    with ThreadPoolExecutor(num_threads(devices)) as pool:
        return list(pool.map(run, enumerate(chunks)))


def _filled(leaf: Any, rows: int) -> Any:
    missing = rows - leaf.shape[0]
    return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf


def _joined(parts: list[Any], leading: tuple[int, ...]) -> Any:
    if isinstance(parts[0], dict):  # by hand: a jax tree would sort the keys
        return {key: _joined([part[key] for part in parts], leading) for key in parts[0]}
    return jax.tree.map(
        lambda *leaves: np.concatenate(leaves).reshape(leading + leaves[0].shape[1:]), *parts
    )
