"""The one place that cuts many instances into chunks and spreads them over threads and devices.

Memory, beside the trees that are given and returned: a chunk on the host holds at most
:data:`_HOST_BYTES`, a call on each device of a CPU :data:`_CPU_BYTES` (and as many calls run as
there are cores), a call on an accelerator a quarter of its memory.

One device takes chunks from threads, which is what keeps the cores of a CPU busy. Of several,
each takes its share of a chunk under ``shard_map``: programs loop until the slowest of their
instances is done, and so no device waits for the instances of another.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.core import eval_context
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Type checkers take jax.Device for a variable and do not know the flags of jax.config.
Device = Any
_config: Any = jax.config

_HOST_BYTES = 2**25
_HOST_BYTES_PER_REQUEST = 128  # a dozen of int64 and float64 temporaries
_CPU_BYTES = 2**20, 2**22  # one to five milliseconds: worth a thread, easy to share
_DEVICE_BYTES_PER_REQUEST = 64  # lengths, keys and slots, each held twice for a while
_ACCELERATOR_SHARE = 4
_INSTANCES = P("instances")


def map_chunks(
    function: Callable[..., Any], *trees: Any, leading: tuple[int, ...], chunk_size: int
) -> Any:
    """Apply ``function`` to chunks of instances and join what it returns on the host.

    Args:
      function: given chunks ``[rows, ..]`` of the trees, returns a pytree of ``[rows, ..]``.
      trees: pytrees whose leaves all have the leading axes ``leading``.
      leading: shape of the axes to map over.
      chunk_size: instances in a chunk.

    Returns:
      The pytree of results as numpy arrays, with the leading axes put back.
    """
    return _joined((function(*chunk) for chunk in _chunks(trees, leading, chunk_size)), leading)


def map_device_chunks(
    function: Callable[..., Any],
    *trees: Any,
    leading: tuple[int, ...],
    chunk_size: int,
    devices: list[Device],
) -> Any:
    """Apply ``function``, which runs jax programs, to chunks of instances on all ``devices``.

    Args:
      function: given :func:`spread` for the devices in use and chunks ``[rows, ..]`` of the
        trees, returns a pytree of ``[rows, ..]``. The last chunk is filled up by repeating its
        last instance, so that every call has one shape.
      trees: pytrees whose leaves all have the leading axes ``leading``.
      leading: shape of the axes to map over.
      chunk_size: instances in a call, for each device.
      devices: those to use; only as many are as have instances to take.

    Returns:
      The pytree of results as numpy arrays, with the leading axes put back.
    """
    num_instances = math.prod(leading)
    devices = _in_use(devices, num_instances, chunk_size)
    rows_of_call = chunk_size * len(devices)
    call = functools.partial(function, functools.partial(spread, tuple(devices)))
    is_x64 = _config.jax_enable_x64  # a caller's setting ends at its own thread

    def run(chunk: Any) -> Any:
        # Also under a caller's trace the arrays here are numbers, to be computed with now.
        with jax.default_device(devices[0]), jax.enable_x64(is_x64), eval_context():
            rows = jax.tree.leaves(chunk)[0].shape[0]
            result = call(*jax.tree.map(lambda leaf: filled(leaf, rows_of_call), chunk))
            return jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], result)

    chunks = _chunks(trees, leading, rows_of_call)
    if num_instances <= rows_of_call:
        return _joined(map(run, chunks), leading)
    with ThreadPoolExecutor(_num_cores() if devices[0].platform == "cpu" else 1) as pool:
        return _joined(pool.map(run, chunks), leading)


@functools.cache
def spread(
    devices: tuple[Device, ...], program: Callable[..., Any], num_mapped: int, **static: Any
) -> Callable[..., Any]:
    """Have every device run ``program`` on its own share of the instances.

    Args:
      devices: where to run it.
      program: a jitted function of arrays.
      num_mapped: arguments that come first and have instances as their leading axis; every
        device gets the others whole.
      static: the program's static arguments, by name.

    Returns:
      A function of the program's arrays, the number of instances a multiple of the devices.
    """
    program = functools.partial(program, **static)
    if len(devices) == 1:
        return program
    mesh = Mesh(np.asarray(devices), ("instances",))

    def call(*args: Any) -> Any:
        specs = tuple(_INSTANCES if place < num_mapped else P() for place in range(len(args)))
        placed = jax.device_put(args, tuple(NamedSharding(mesh, spec) for spec in specs))
        return on_shares(specs)(*placed)

    @functools.cache
    def on_shares(specs: tuple[P, ...]) -> Any:
        shares = {"mesh": mesh, "in_specs": specs, "out_specs": _INSTANCES}
        return jax.jit(jax.shard_map(program, **shares, check_vma=False))

    return call


def num_device_calls(num_instances: int, chunk_size: int, devices: list[Device]) -> int:
    """Count the calls that :func:`map_device_chunks` makes."""
    return -(-num_instances // (chunk_size * len(_in_use(devices, num_instances, chunk_size))))


def _in_use(devices: list[Device], num_instances: int, chunk_size: int) -> list[Device]:
    return devices[: max(1, -(-num_instances // chunk_size))]


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
    chunk_size = max(1, _HOST_BYTES // (_HOST_BYTES_PER_REQUEST * n))
    return map_chunks(function, *trees, leading=tuple(leading), chunk_size=chunk_size)


def device_chunk_size(
    leading: tuple[int, ...], n: int, devices: list[Device], *, group: int
) -> int:
    """Instances for each device in a call of a program that works on groups of ``group`` in step.

    One of few sizes, so that few are ever compiled. CPU calls are small, for all cores to have a
    share; an accelerator takes as many as fit a quarter of its memory.
    """
    num_instances = math.prod(leading)
    if devices[0].platform == "cpu":
        bytes_per_instance = _DEVICE_BYTES_PER_REQUEST * _power_of_two(n)
        least, most = (max(group, size // bytes_per_instance) for size in _CPU_BYTES)
        num_workers = max(len(devices), _num_cores())  # virtual devices of a CPU share its cores
    else:
        stats = devices[0].memory_stats() or {}
        budget = stats.get("bytes_limit", 2**32) // _ACCELERATOR_SHARE
        least, most = group, max(group, budget // (_DEVICE_BYTES_PER_REQUEST * n))
        num_workers = len(devices)
    share = -(-num_instances // num_workers)
    size = max(1, min(max(share, least), most, num_instances))
    whole = _power_of_two(size)
    if len(devices) == 1:
        return whole
    step = max(1, whole // 8)  # a call is filled up for every device, which would add up
    return -(-size // step) * step


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _num_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def local_devices() -> list[Device]:
    """List the device that the user has made the default, otherwise all local ones."""
    chosen = _config.jax_default_device
    if chosen is None:
        return jax.local_devices()
    return [jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen]


def _chunks(trees: Any, leading: tuple[int, ...], size: int) -> Iterator[Any]:
    num_instances = math.prod(leading)
    flat = jax.tree.map(
        lambda leaf: leaf.reshape(num_instances, *leaf.shape[len(leading) :]), trees
    )
    for begin in range(0, num_instances, size):
        yield jax.tree.map(lambda leaf, begin=begin: leaf[begin : begin + size], flat)


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
