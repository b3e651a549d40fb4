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
_CPU_REQUESTS_PER_CALL = 2**14, 2**16  # one to five milliseconds: worth a thread, easy to share
_ACCELERATOR_BYTES_PER_REQUEST = 64  # lengths, keys and slots, each held twice for a while


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
    chunks = _chunks(flat, num_instances, chunk_size)
    if devices is None:
        parts = (function(*chunk) for chunk in chunks)
    else:
        parts = _on_devices(function, chunks, num_instances, chunk_size, devices)
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


def device_chunk_size(
    leading: tuple[int, ...], n: int, devices: list[Device], *, group: int
) -> int:
    """Instances in a call of a device program that works on groups of ``group`` in step.

    A power of two, so that few sizes are ever compiled. CPU chunks are small, for all cores to
    have a share; an accelerator takes as many as fit a quarter of its memory.
    """
    num_instances = math.prod(leading)
    if devices[0].platform == "cpu":
        least, most = (requests // _power_of_two(n) for requests in _CPU_REQUESTS_PER_CALL)
        least, most = max(least, group), max(most, group)
    else:
        stats = devices[0].memory_stats() or {}
        budget = stats.get("bytes_limit", 2**32) // 4
        least, most = group, max(group, budget // (_ACCELERATOR_BYTES_PER_REQUEST * n))
    share = -(-num_instances // _num_threads(devices))
    return _power_of_two(max(1, min(max(share, least), most, num_instances)))


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _num_threads(devices: list[Device]) -> int:
    """Threads that keep ``devices`` busy: the virtual devices of a CPU share its cores."""
    if devices[0].platform != "cpu":
        return len(devices)
    affinity = getattr(os, "sched_getaffinity", None)
    num_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(len(devices), num_cores)


def local_devices() -> list[Device]:
    """List the device that the user has made the default, otherwise all local ones."""
    chosen = _config.jax_default_device
    if chosen is None:
        return jax.local_devices()
    return [jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen]


def _chunks(flat: Any, num_instances: int, size: int) -> Iterator[Any]:
    for begin in range(0, num_instances, size):
        yield jax.tree.map(lambda leaf, begin=begin: leaf[begin : begin + size], flat)


def _on_devices(
    function: Callable[..., Any],
    chunks: Iterator[Any],
    num_instances: int,
    chunk_size: int,
    devices: list[Device],
) -> Iterator[Any]:
    is_x64 = _config.jax_enable_x64  # a caller's setting ends at its own thread

    def run(numbered: tuple[int, Any]) -> Any:
        number, chunk = numbered
        device = devices[number % len(devices)]
        # Also under a caller's trace the arrays here are numbers, to be computed with now.
        with jax.default_device(device), jax.enable_x64(is_x64), eval_context():
            rows = jax.tree.leaves(chunk)[0].shape[0]
            result = function(*jax.tree.map(lambda leaf: filled(leaf, chunk_size), chunk))
            return jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], result)

    if num_instances <= chunk_size:
        yield from map(run, enumerate(chunks))
        return
    with ThreadPoolExecutor(_num_threads(devices)) as pool:
        yield from pool.map(run, enumerate(chunks))


def filled(leaf: Any, rows: int) -> Any:
    """Repeat the last instance until there are ``rows`` of them."""
    missing = rows - leaf.shape[0]
    return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf


def _joined(parts: Iterator[Any], leading: tuple[int, ...]) -> Any:
    """Write each part to its place as it comes, so that all are never held twice."""
    num_instances, begin = math.prod(leading), 0
    joined: list[np.ndarray] = []
    first = None
    for part in parts:
        leaves = jax.tree.leaves(part)
        if first is None:
            first = part
            joined = [np.empty((num_instances, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
        end = begin + len(leaves[0])
        for whole, leaf in zip(joined, leaves, strict=True):
            whole[begin:end] = leaf
        begin = end
    shaped = [whole.reshape(leading + whole.shape[1:]) for whole in joined]
    result = jax.tree.unflatten(jax.tree.structure(first), shaped)
    return {key: result[key] for key in first} if isinstance(first, dict) else result
