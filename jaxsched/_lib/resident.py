"""Calls whose results stay where jax keeps them: on accelerators, and where inputs are sharded.

Inputs on the host go up once. Nothing comes down, and nothing is waited for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from jaxsched._lib.arrays import filled, is_spread
from jaxsched._lib.chunks import device_chunk_size
from jaxsched._lib.devices import Device, local_devices
from jaxsched._lib.programs import bound_programs


def on_devices(program: Callable[..., Any], leading: tuple[int, ...], n: int, *trees: Any) -> Any:
    """Run a program of instances where they are, or on all local devices.

    Args:
      program: of :func:`~jaxsched._lib.instances.over_instances`.
      leading: axes of the instances.
      n: requests of each, which says how many fit a device.
      trees: the program's arguments, with the leading axes ``leading``.

    Returns:
      What the program returns, as jax arrays. Arrays that are spread over devices stay so. Others
      are spread over all local devices, where there are several.
    """
    bound_programs()
    if is_spread(trees):
        return program(len(leading), *trees)
    num_instances, devices = math.prod(leading), local_devices()
    share = device_chunk_size(leading, n, devices, group=1)
    in_use = devices[: max(1, -(-num_instances // share))]
    rows, placement = share * len(in_use), _placement(tuple(in_use))

    def flat(leaf: Any) -> Any:
        return leaf.reshape(num_instances, *leaf.shape[len(leading) :])

    def call(begin: int) -> Any:
        """Serve some rows; the last instance repeated fills them up, so that shapes are few."""
        chunk = jax.tree.map(lambda leaf: flat(leaf)[begin : begin + rows], trees)
        full = jax.tree.map(lambda leaf: filled(jax.device_put(leaf), rows), chunk)
        return program(1, *jax.device_put(full, placement))

    result = call(0)
    if num_instances > rows:
        whole = _joined(call, result, range(rows, num_instances, rows))
    else:
        whole = result
    return jax.tree.map(lambda leaf: leaf[:num_instances].reshape(*leading, *leaf.shape[1:]), whole)


def _joined(call: Callable[[int], Any], first: Any, begins: range) -> Any:
    """Write parts to their places in one tree as they come, so that all are never held twice."""
    num_rows = begins.step * (1 + len(begins))

    def room(leaf: jax.Array) -> jax.Array:
        shape = (num_rows, *leaf.shape[1:])
        empty = jnp.zeros(shape, leaf.dtype, device=leaf.sharding)
        return _put(empty, leaf, begin=jnp.int32(0))

    whole = jax.tree.map(room, first)
    for begin in begins:
        put = functools.partial(_put, begin=jnp.int32(begin))
        whole = jax.tree.map(put, whole, call(begin))
    return whole


@functools.partial(jax.jit, donate_argnums=0)
def _put(whole: jax.Array, part: jax.Array, begin: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, part, begin, axis=0)


@functools.cache
def _placement(devices: tuple[Device, ...]) -> Any:
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0])
    return NamedSharding(Mesh(np.asarray(devices), ("instances",)), P("instances"))
