"""A program over independent instances, as the transformations of jax should see it.

Left to themselves, ``vmap`` would turn the bounds of loops into masks, and an automatic mesh would
have devices talk in every turn. But instances know nothing of each other: ``vmap`` only makes them
more, and on a mesh each device takes its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsched._lib.devices import config
from jaxsched._lib.loops import varying_like


def over_instances(program: Callable[..., Any]) -> Callable[..., Any]:
    """Make a traced program of independent instances out of one for instances ``[B]``.

    Args:
      program: of pytrees, to a pytree. All leaves have instances as their one leading axis.

    Returns:
      A function of the number of leading axes ``[..]`` and the same pytrees. Under ``vmap`` there
      are more instances. Where they are sharded, each device runs the program on its own.
    """

    def on_shares(*trees: Any) -> Any:
        with varying_like(trees):
            return program(*trees)

    partitioned = custom_partitioning(on_shares)
    partitioned.def_partition(
        partition=functools.partial(_partition, on_shares), sharding_rule=_sharding_rule
    )

    @custom_vmap
    def mappable(*trees: Any) -> Any:
        return partitioned(*trees)

    @mappable.def_vmap
    def _(axis_size: int, is_mapped: Any, *trees: Any) -> Any:
        def merged(leaf: jax.Array, mapped: bool) -> jax.Array:
            leaf = leaf if mapped else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))
            return leaf.reshape(-1, *leaf.shape[2:])

        with _as_wide_as(trees):
            result = mappable(*jax.tree.map(merged, trees, tuple(is_mapped)))
            split = jax.tree.map(lambda leaf: leaf.reshape(axis_size, -1, *leaf.shape[1:]), result)
        return split, jax.tree.map(lambda _: True, split)

    def traced(num_leading: int, *trees: Any) -> Any:
        return on_each_device(functools.partial(flat, num_leading), num_leading, trees)

    def flat(num_leading: int, *trees: Any) -> Any:
        leading = jax.tree.leaves(trees)[0].shape[:num_leading]

        def merged(leaf: jax.Array) -> jax.Array:
            return leaf.reshape(-1, *leaf.shape[num_leading:])

        with _as_wide_as(trees):
            result = mappable(*jax.tree.map(merged, trees))
            return jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), result)

    return jax.jit(traced, static_argnums=0)


def on_each_device(
    program: Callable[..., Any], num_leading: int, trees: Any, shared: Any = ()
) -> Any:
    """Call a traced program; if types say where instances are, on each device with its own.

    Args:
      program: of the trees and then of what is shared.
      num_leading: axes of the instances.
      trees: a tuple of pytrees with these axes.
      shared: a tuple of pytrees that every device gets whole.

    Returns:
      What the program returns, with the instances' axes.
    """

    def here(trees: Any, shared: Any) -> Any:
        with varying_like((trees, shared)):
            return program(*trees, *shared)

    placement = _explicit_placement(num_leading, trees)
    if placement is None:
        return here(trees, shared)
    placed = jax.tree.map(lambda leaf: jax.sharding.reshard(leaf, placement), trees)
    mesh, spec = placement.mesh, placement.spec
    return jax.shard_map(here, mesh=mesh, in_specs=(spec, P()), out_specs=spec)(placed, shared)


def _as_wide_as(trees: Any) -> Any:
    """Let numbers of 64 bits stay so."""
    is_wide = any(leaf.dtype.itemsize == 8 for leaf in jax.tree.leaves(trees))
    return jax.enable_x64(is_wide or config.jax_enable_x64)


def _explicit_placement(num_leading: int, trees: Any) -> NamedSharding | None:
    """Say where instances are on a mesh whose axes are part of types, or None."""
    found = None
    for leaf in jax.tree.leaves(trees):
        sharding = jax.typeof(leaf).sharding
        if AxisType.Explicit not in sharding.mesh.axis_types:
            continue
        spec = P(*sharding.spec[:num_leading])
        if found is None or not any(found.spec):
            found = NamedSharding(sharding.mesh, spec)
    return found


def _partition(on_shares: Callable[..., Any], mesh: Any, given: Any, returned: Any) -> Any:
    """Say what each device of an automatic mesh runs, and on what."""
    num_instances, *_ = jax.tree.leaves(given)[0].shape
    spec = P(*jax.tree.leaves(given)[0].sharding.spec[:1])
    axes = spec[0] if spec and isinstance(spec[0], tuple) else spec
    num_shares = math.prod(mesh.shape[axis] for axis in axes if axis is not None)
    # Devices that do not divide the instances evenly each take all of them.
    placement = NamedSharding(mesh, spec if num_instances % num_shares == 0 else P())

    def run(*trees: Any) -> Any:
        with _as_wide_as(trees):
            return on_shares(*trees)

    placed = [jax.tree.map(lambda _: placement, tree) for tree in (returned, given)]
    return mesh, run, placed[0], placed[1]


def _sharding_rule(mesh: Any, given: Any, returned: Any) -> Any:
    """Let instances, the first axis of everything, be sharded alike, and nothing else."""
    del mesh
    names = [
        [f"d{number}x{axis}" for axis in range(1, kind.rank)]
        for number, kind in enumerate((*given, *returned))
    ]
    terms = [" ".join(["b", *rest]) for rest in names]
    rule = f"{', '.join(terms[: len(given)])} -> {', '.join(terms[len(given) :])}"
    return rule, {"need_replication_factors": tuple(name for rest in names for name in rest)}
