"""Where programs run, and a program spread over several devices.

Of several devices each takes its share of a call under ``shard_map``: programs loop until the
slowest of their instances is done, and so no device waits for the instances of another.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Type checkers take jax.Device for a variable and do not know the flags of jax.config.
Device = Any
config: Any = jax.config

_AXIS = "instances"


@dataclasses.dataclass(frozen=True)
class MappedProgram:
    """A program, and which of its arguments are mapped over instances.

    Equal values share what is compiled.

    Attributes:
      program: a jitted function of arrays.
      num_mapped: arguments that come first and have instances as their leading axis; every
        device gets the others whole.
      static: the program's static arguments, name and value.
    """

    program: Callable[..., Any]
    num_mapped: int
    static: tuple[tuple[str, Any], ...] = ()

    def __call__(self, devices: tuple[Device, ...], *arrays: Any) -> Any:
        """Have each of ``devices`` run the program on its own share of the instances.

        Args:
          devices: where to run it.
          arrays: the program's; the number of instances a multiple of that of the devices.

        Returns:
          What the program returns of all instances.
        """
        if len(devices) == 1:
            return self.program(*arrays, **dict(self.static))
        on_shares, placement = _spread(self, devices, len(arrays))
        return on_shares(*jax.device_put(arrays, placement))


@functools.cache
def _spread(
    mapped: MappedProgram, devices: tuple[Device, ...], num_arrays: int
) -> tuple[Callable[..., Any], tuple[NamedSharding, ...]]:
    """Make the program on shares, and say where its arguments go."""
    mesh = Mesh(np.asarray(devices), (_AXIS,))
    specs = (P(_AXIS),) * mapped.num_mapped + (P(),) * (num_arrays - mapped.num_mapped)
    on_one = functools.partial(mapped.program, **dict(mapped.static))
    shares = {"mesh": mesh, "in_specs": specs, "out_specs": P(_AXIS)}
    on_shares = jax.jit(jax.shard_map(on_one, **shares, check_vma=False))
    return on_shares, tuple(NamedSharding(mesh, spec) for spec in specs)


def local_devices() -> list[Device]:
    """List the device that the user has made the default, otherwise all local ones."""
    chosen = config.jax_default_device
    if chosen is None:
        return jax.local_devices()
    return [jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen]


def is_cpu(devices: list[Device] | tuple[Device, ...]) -> bool:
    """Whether these are CPUs, whose memory is the host's."""
    return devices[0].platform == "cpu"


def num_cores() -> int:
    """Count the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
