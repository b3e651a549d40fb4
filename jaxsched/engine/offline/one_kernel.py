"""Have XLA compile a loop nest for the CPU as one function instead of one call an operation."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

# XLA compiles small loops on CPU into one function by itself and marks them like this. The mark
# is not a documented interface, so it is used with the releases it was tested with only;
# elsewhere the same program runs two to six times slower.
_TESTED = ("0.10.",)
_MARK = {"inlineable": "false", "xla_cpu_small_call": "true"}

is_available = version("jaxlib").startswith(_TESTED)


def as_one_kernel(function: Callable[..., Any], *args: Any) -> Any:
    """Call ``function`` as one compiled kernel; for CPU programs only.

    Args:
      function: made of ``lax`` operations alone, none of them a sort, a scatter or a large array
        (256 KiB) computed at once, which XLA would hand to threads.
      args: pytrees of arrays, the first leaf int32 and not negative.
    """
    # XLA stops the process when an argument of such a call is a constant, as arguments are
    # where the caller closes over them. Adding a zero that XLA may not look at changes none
    # and makes every one the result of an operation.
    some = jax.tree.leaves(args)[0]
    zero = lax.optimization_barrier(some[(0,) * some.ndim]) >> 31
    args = jax.tree.map(lambda arg: _plus(arg, zero), args)

    # It also stops when an argument is not used, even one of which that is seen late.
    def using_all(*args: Any) -> tuple[Any, jax.Array]:
        firsts = (lax.slice(arg.reshape(-1), (0,), (1,)) for arg in jax.tree.leaves(args))
        return function(*args), sum(first.astype(jnp.int32) for first in firsts)

    with set_xla_metadata(**_MARK):
        return lax.optimization_barrier(jax.jit(using_all)(*args))[0]


def _plus(arg: jax.Array, zero: jax.Array) -> jax.Array:
    if jnp.issubdtype(arg.dtype, jnp.floating):
        return arg + zero.astype(arg.dtype)
    return arg ^ zero.astype(arg.dtype)
