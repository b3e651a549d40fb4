"""Have XLA compile a loop nest for the CPU as one function instead of one call an operation."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

# XLA compiles small loops on CPU into one function by itself and marks them like this. The mark
# is not a documented interface, so it is used with the releases it was tested with only. With
# jaxlib 0.10 and 0.11 a program without it takes 4 to 14 times as long (1 to 5 times with 0.11.1).
# jaxlib 0.12 does as much by itself: there, programs take 0.8 to 1.7 times as long without it.
_TESTED = ("0.10.", "0.11.", "0.12.")
_MARK = {"inlineable": "false", "xla_cpu_small_call": "true"}
_FLAG = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000000"

is_available = version("jaxlib").startswith(_TESTED)


@functools.cache
def warn_if_untested() -> None:
    """Say once that this jaxlib is newer or older than the mark, and what may help."""
    if not is_available:
        warnings.warn(
            f"jaxlib {version('jaxlib')} was not tested with jaxsched (0.10 to 0.12 were): "
            "simulations on the CPU may take several times as long. Setting "
            f"XLA_FLAGS={_FLAG} before jax starts helped on 0.10 and 0.11",
            stacklevel=2,
        )


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
        firsts = [lax.slice(arg.reshape(-1), (0,), (1,)) for arg in jax.tree.leaves(args)]
        used = sum((each.astype(jnp.int32) for each in firsts), jnp.zeros(1, jnp.int32))
        return function(*args), used

    with set_xla_metadata(**_MARK):
        return lax.optimization_barrier(jax.jit(using_all)(*args))[0]


def _plus(arg: jax.Array, zero: jax.Array) -> jax.Array:
    if jnp.issubdtype(arg.dtype, jnp.floating):
        return arg + zero.astype(arg.dtype)
    return arg ^ zero.astype(arg.dtype)
