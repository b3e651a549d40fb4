"""The one place that cuts many instances into chunks, on the host and for devices.

One device takes chunks from threads, which is what keeps the cores of a CPU busy; several share
each chunk, see :mod:`jaxsched._lib.devices`.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context

from jaxsched._lib.arrays import filled, in_jax, is_spread, is_traced, on_host
from jaxsched._lib.devices import Device, config, is_cpu, local_devices, num_cores
from jaxsched._lib.instances import on_each_device
from jaxsched._lib.programs import bound_programs

# Memory, beside the trees that are given and returned: what a chunk on the host holds at most, a
# call on each device of a CPU (and as many calls run as there are cores), one on an accelerator.
_HOST_BYTES = 2**23  # most of it in a core's own cache
_HOST_BYTES_PER_REQUEST = 128  # a dozen of int64 and float64 temporaries
_CPU_BYTES = 2**20, 2**22  # one to five milliseconds: worth a thread, easy to share
_DEVICE_BYTES_PER_REQUEST = 64  # lengths, keys and slots, each held twice for a while
_JAX_BYTES_PER_REQUEST = 256  # of formulas, whose temporaries are twice a dozen in a program
_ACCELERATOR_SHARE = 4  # a call takes one part in so many of its memory

# Sizes that those set who cut their work themselves.
REQUESTS_PER_CHUNK = 2**18  # of rules, which may make tables: a step of a progress bar
REQUESTS_PER_SHARD = 2**18  # of a sweep: a second of work or less, tens of MB
REQUESTS_PER_DRAW = 2**20  # of a synthetic workload
INSTANCES_PER_HOST_CHUNK = 8  # of rules that run on the host, which may take seconds for each
HOST_CELLS = 2**18  # requests times blocks of prices, float64
CPU_CELLS = 2**17  # the same in a call: half a MB for each array, half a ms a step
ACCELERATOR_CELLS = 2**26


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
      function: given the devices in use and chunks ``[rows, ..]`` of the trees, returns a pytree
        of ``[rows, ..]``, perhaps by a :class:`~jaxsched._lib.devices.MappedProgram`. The last
        chunk is filled up by repeating its last instance, so that every call has one shape.
      trees: pytrees whose leaves all have the leading axes ``leading``.
      leading: shape of the axes to map over.
      chunk_size: instances in a call, for each device.
      devices: those to use; only as many are as have instances to take.

    Returns:
      The pytree of results as numpy arrays, with the leading axes put back.
    """
    bound_programs()
    num_instances = math.prod(leading)
    in_use = tuple(_in_use(devices, num_instances, chunk_size))
    rows_of_call = chunk_size * len(in_use)
    is_x64 = config.jax_enable_x64  # a caller's setting ends at its own thread

    def run(chunk: Any) -> Any:
        # Also under a caller's trace the arrays here are numbers, to be computed with now.
        with jax.default_device(in_use[0]), jax.enable_x64(is_x64), eval_context():
            rows = jax.tree.leaves(chunk)[0].shape[0]
            full = jax.tree.map(lambda leaf: filled(leaf, rows_of_call), chunk)
            result = function(in_use, *full)
            return jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], result)

    chunks = _chunks(trees, leading, rows_of_call)
    if num_instances <= rows_of_call:
        return _joined(map(run, chunks), leading)
    with ThreadPoolExecutor(num_cores() if is_cpu(in_use) else 1) as pool:
        return _joined(pool.map(run, chunks), leading)


def num_device_calls(num_instances: int, chunk_size: int, devices: list[Device]) -> int:
    """Count the calls that :func:`map_device_chunks` makes."""
    return -(-num_instances // (chunk_size * len(_in_use(devices, num_instances, chunk_size))))


def _in_use(devices: list[Device], num_instances: int, chunk_size: int) -> list[Device]:
    return devices[: max(1, -(-num_instances // chunk_size))]


def map_instances(function: Callable[..., Any], *trees: Any, shared: tuple[Any, ...] = ()) -> Any:
    """Apply a formula to every instance, by numpy on a CPU and by jax anywhere else.

    What is sharded stays so, and each device takes its own instances. On a CPU otherwise all
    cores take chunks so small that temporaries stay in the cache. On an accelerator it is one
    jitted program, and results stay there. Inside a trace it becomes part of what is traced. The
    formula always has 64 bits, whatever the caller's setting of jax.

    Args:
      function: given rows ``[rows, ..]`` of the trees and all of ``shared``, returns a pytree of
        ``[rows, ..]``, with the :func:`~jaxsched._lib.arrays.namespace` of its arrays. A function
        of a module, since an accelerator's program is kept by it.
      trees: an :class:`~jaxsched.Instance` ``[.., n]``, and others with its leading axes.
      shared: trees without these axes.

    Returns:
      What ``function`` returns, with the leading axes put back.
    """
    leading = np.shape(trees[0].prompt_tokens)[:-1]
    rows = [leaf for leaf in jax.tree.leaves(trees) if np.ndim(leaf) > len(leading)]
    widest = max(np.shape(leaf)[-1] for leaf in rows)
    if in_jax(trees, shared):
        with jax.enable_x64(True):
            return _map_in_jax(function, trees, shared, leading, widest)

    def block(chunk: Any) -> Any:
        return function(*chunk, *shared)

    chunks = list(_chunks(on_host(trees), leading, host_chunk_size(widest)))
    results = _on_all_cores(block, chunks) if len(chunks) > 1 else map(block, chunks)
    return _joined(results, leading)


def _on_all_cores(function: Callable[..., Any], chunks: list[Any]) -> Iterator[Any]:
    """Apply a numpy ``function`` to chunks, in this thread and in helpers.

    Numpy works without the interpreter's lock. What no helper has begun, this thread does.
    """
    futures = [_helpers().submit(function, chunk) for chunk in chunks]
    try:
        own = {
            place: function(chunks[place])
            for place in reversed(range(len(chunks)))
            if futures[place].cancel()
        }
        for place, future in enumerate(futures):
            yield own[place] if place in own else future.result()
    finally:
        for future in futures:
            future.cancel()


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    """Keep threads, which keep the memory that they have used; a new one asks the system."""
    return ThreadPoolExecutor(max(1, num_cores() - 1))


def _map_in_jax(
    function: Callable[..., Any],
    trees: tuple[Any, ...],
    shared: tuple[Any, ...],
    leading: tuple[int, ...],
    n: int,
) -> Any:
    trees, shared = jax.tree.map(jnp.asarray, (trees, shared))
    program, size = _program(function), math.prod(leading)
    if not is_traced(trees, shared):
        program = _jitted(function)
        if not is_spread(trees):
            size = max(1, _accelerator_bytes(local_devices()[0]) // (_JAX_BYTES_PER_REQUEST * n))
    parts = [program(chunk, shared) for chunk in _chunks(trees, leading, size)]
    whole = parts[0] if len(parts) == 1 else jax.tree.map(lambda *of: jnp.concatenate(of), *parts)
    whole = jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), whole)
    return dict(whole) if isinstance(whole, OrderedDict) else whole


@functools.cache
def _jitted(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(_program(function))


def _program(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def ordered(*args: Any) -> Any:
        result = function(*args)  # jax would sort the keys of a dict
        return OrderedDict(result) if isinstance(result, dict) else result

    return functools.partial(on_each_device, ordered, 1)


def host_chunk_size(n: int) -> int:
    """Instances in a chunk of numpy work on ``[rows, n]``."""
    return max(1, _HOST_BYTES // (_HOST_BYTES_PER_REQUEST * n))


def device_chunk_size(
    leading: tuple[int, ...], n: int, devices: list[Device], *, group: int
) -> int:
    """Instances for each device in a call of a program that works on groups of ``group`` in step.

    One of few sizes, so that few are ever compiled. CPU calls are small, for all cores to have a
    share; an accelerator takes as many as fit a quarter of its memory.
    """
    num_instances = math.prod(leading)
    if is_cpu(devices):
        bytes_per_instance = _DEVICE_BYTES_PER_REQUEST * _power_of_two(n)
        least, most = (max(group, size // bytes_per_instance) for size in _CPU_BYTES)
        num_workers = max(len(devices), num_cores())  # virtual devices of a CPU share its cores
    else:
        most = max(group, _accelerator_bytes(devices[0]) // (_DEVICE_BYTES_PER_REQUEST * n))
        least = group
        num_workers = len(devices)
    share = -(-num_instances // num_workers)
    size = max(1, min(max(share, least), most, num_instances))
    whole = _power_of_two(size)
    if is_cpu(devices) and len(devices) == 1:
        return whole
    step = max(1, whole // 8)  # a call is filled up, for every device, which would add up
    return -(-size // step) * step


def _accelerator_bytes(device: Device) -> int:
    """Memory that a call on an accelerator may take."""
    return (device.memory_stats() or {}).get("bytes_limit", 2**32) // _ACCELERATOR_SHARE


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _chunks(trees: Any, leading: tuple[int, ...], size: int) -> Iterator[Any]:
    num_instances = math.prod(leading)
    flat = jax.tree.map(
        lambda leaf: leaf.reshape(num_instances, *leaf.shape[len(leading) :]), trees
    )
    for begin in range(0, num_instances, size):
        yield jax.tree.map(lambda leaf, begin=begin: leaf[begin : begin + size], flat)


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
