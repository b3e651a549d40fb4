"""Operations of jax that are a kernel on NVIDIA GPUs, and the wide form everywhere else.

An operation chooses while it is lowered, because only then is the platform known for certain.
``lax.platform_dependent`` alone would not do: it traces every branch, so that Pallas would be
imported on every CPU, and Pallas refuses to be lowered for several platforms at once.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Literal, get_args

import jax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import AbstractMesh

from jaxsched._lib.errors import choice
from jaxsched._lib.loops import varying

# Releases of jax whose Pallas the kernels were compiled with. Pallas for Triton is deprecated since
# 0.11 and says so; Mosaic GPU is what follows it.
_TESTED = ("0.10.", "0.11.", "0.12.")
_VARIABLE = "JAXSCHED_GPU_KERNEL"

#: Who takes the body of a kernel.
Compiler = Literal["triton", "mosaic_gpu", "interpreter"]
#: Who compiles kernels for a GPU; ``off`` for nobody.
Choice = Literal["triton", "mosaic_gpu", "off"]


def chosen() -> Choice:
    """Return who compiles kernels, from the environment; ``off`` for nobody."""
    name: Any = os.environ.get(_VARIABLE, "triton")
    choice(_VARIABLE, name, get_args(Choice))
    return name


def operation(
    name: str,
    wide: Callable[..., Any],
    by_kernel: Callable[..., Any],
    results: Callable[..., Any],
) -> Callable[..., Any]:
    """Make an operation.

    Args:
      name: what jax calls it.
      wide: given what is compiled in and pytrees of arrays, returns a pytree.
      by_kernel: given a :data:`Compiler` and the same, returns the same.
      results: given the same, a pytree of the shapes of what both return.

    Returns:
      A function of what ``wide`` takes.
    """
    primitive = Primitive(name)
    primitive.multiple_results = True

    def in_step(*leaves: jax.Array, static: Any, structure: Any) -> list[jax.Array]:
        return jax.tree.leaves(wide(static, *jax.tree.unflatten(structure, leaves)))

    def on_cuda(*leaves: jax.Array, static: Any, structure: Any) -> list[jax.Array]:
        compiler = chosen()
        if compiler == "off" or not _is_tested():
            return in_step(*leaves, static=static, structure=structure)
        return jax.tree.leaves(by_kernel(compiler, static, *jax.tree.unflatten(structure, leaves)))

    def shapes(*leaves: Any, static: Any, structure: Any) -> list[ShapedArray]:
        found = jax.tree.leaves(results(static, *jax.tree.unflatten(structure, leaves)))
        return [ShapedArray(leaf.shape, leaf.dtype) for leaf in found]

    def bind(static: Any, *trees: Any) -> Any:
        leaves, structure = jax.tree.flatten(trees)
        found = primitive.bind(*leaves, static=static, structure=structure)
        return varying(jax.tree.unflatten(jax.tree.structure(results(static, *trees)), found))

    primitive.def_impl(in_step)
    primitive.def_abstract_eval(shapes)
    mlir.register_lowering(primitive, mlir.lower_fun(in_step))
    mlir.register_lowering(primitive, _for_some_gpu(mlir.lower_fun(on_cuda)), platform="cuda")
    return bind


def _is_tested() -> bool:
    if version("jax").startswith(_TESTED):
        return True
    warnings.warn(
        f"jax {version('jax')} was not tested with jaxsched's GPU kernels (0.10 to 0.12 were), "
        "so simulations on the GPU may take a hundred times as long; install jax 0.10 to 0.12",
        stacklevel=2,
    )
    return False


def _for_some_gpu(lower: Callable[..., Any]) -> Callable[..., Any]:
    """Have a rule know a GPU while it lowers a kernel."""

    def lowered(context: Any, *leaves: Any, **static: Any) -> Any:
        with _some_gpu(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated")
            return lower(context, *leaves, **static)

    return lowered


def _some_gpu() -> contextlib.AbstractContextManager[Any]:
    """Say which GPU is meant, where none is at hand and the caller did not say it."""
    if jax.sharding.get_abstract_mesh().abstract_device is not None:
        return contextlib.nullcontext()
    try:
        jax.local_devices(backend="gpu")
    except RuntimeError:
        h100 = jax.sharding.AbstractDevice("NVIDIA H100", 132, "gpu")
        return jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=h100))
    return contextlib.nullcontext()
