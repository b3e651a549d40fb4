"""The kernel as an operation of jax: lowered for NVIDIA GPUs, the wide form everywhere else.

The operation chooses while it is lowered, because only then is the platform known for certain.
``lax.platform_dependent`` alone would not do: it traces every branch, so that Pallas would be
imported on every CPU, and Pallas refuses to be lowered for several platforms at once.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from importlib.metadata import version
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import AbstractMesh

from jaxsched._lib.errors import choice
from jaxsched._lib.loops import varying
from jaxsched.engine.contract import Admission, Placement, Queues
from jaxsched.engine.offline import strict
from jaxsched.engine.offline.gpu.body import Form
from jaxsched.engine.offline.gpu.refs import Compiler
from jaxsched.engine.offline.kernels import wide

# Releases of jax whose Pallas the kernel was compiled with. Pallas for Triton is deprecated since
# 0.11 and says so; Mosaic GPU is what follows it.
_TESTED = ("0.10.", "0.11.", "0.12.")
_VARIABLE = "JAXSCHED_GPU_KERNEL"
Choice = Literal["triton", "mosaic_gpu", "off"]

# A warp has a slot a lane at least. 512 slots take nearly 128 registers a thread, of which a core
# has enough for 16 warps; twice as many would halve that. Blocks of 128, four registers a vector,
# are worth a branch.
_LEAST_SLOTS, _MOST_SLOTS, _BLOCK_SIZE = 32, 512, 128


def chosen() -> Choice:
    """Return who compiles the kernel, from the environment; ``off`` for nobody."""
    name: Any = os.environ.get(_VARIABLE, "triton")
    choice(_VARIABLE, name, get_args(Choice))
    return name


def one_program_an_instance(
    placement: Placement, admission: Admission, queues: Queues
) -> jax.Array:
    """Place by the kernel where there is one: strict order on an NVIDIA GPU; else all in step."""
    if placement is not strict:
        return wide(placement, admission, queues)
    return varying(_start_rounds_p.bind(*jax.tree.leaves(queues), admission=admission))


def form_of(n: int, admission: Admission, most_slots: int = _MOST_SLOTS) -> Form:
    """Choose slots and blocks for instances of ``n`` requests."""
    num_slots = min(max(_LEAST_SLOTS, 1 << (n - 1).bit_length()), most_slots)
    return Form(n, num_slots, max(1, num_slots // _BLOCK_SIZE), admission)


def exact_start_rounds(
    admission: Admission, queues: Queues, *, compiler: Compiler, most_slots: int = _MOST_SLOTS
) -> jax.Array:
    """Place by the kernel, and all anew in the wide form where its slots did not suffice.

    Args:
      admission: what a request counts as holding.
      queues: the requests.
      compiler: see :func:`jaxsched.engine.offline.gpu.kernel.start_rounds`.
      most_slots: a power of two. Fewer are used where an instance has fewer requests, and then
        they always suffice.

    Returns:
      Start rounds int32 ``[n, B]`` in serving order; meaningless for padding.
    """
    from jaxsched.engine.offline.gpu import kernel

    form = form_of(queues.prompt.shape[0], admission, most_slots)
    start, overflows = kernel.start_rounds(form, compiler, queues)
    if form.num_requests <= form.num_slots:
        return start
    is_over = jnp.any(overflows)
    return lax.cond(is_over, lambda: wide(strict, admission, queues), lambda: start)


def _in_step(*leaves: jax.Array, admission: Admission) -> jax.Array:
    return wide(strict, admission, _queues(leaves))


def _on_cuda(*leaves: jax.Array, admission: Admission) -> jax.Array:
    compiler = chosen()
    if compiler == "off":
        return _in_step(*leaves, admission=admission)
    if not version("jax").startswith(_TESTED):
        warnings.warn(
            f"jax {version('jax')} was not tested with jaxsched's GPU kernel (0.10 to 0.12 were), "
            "so simulations on the GPU may take a hundred times as long; install jax 0.10 to 0.12",
            stacklevel=2,
        )
        return _in_step(*leaves, admission=admission)
    return exact_start_rounds(admission, _queues(leaves), compiler=compiler)


def _queues(leaves: tuple[jax.Array, ...]) -> Queues:
    prompt, output, kv_capacity, *caps = leaves
    return Queues(prompt, output, kv_capacity, caps[0] if caps else None)


def _lowered_on_cuda(context: Any, *leaves: Any, admission: Admission) -> Any:
    lower = mlir.lower_fun(_on_cuda, multiple_results=False)
    with _some_gpu(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated")
        return lower(context, *leaves, admission=admission)


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


_start_rounds_p = Primitive("strict_start_rounds")
_start_rounds_p.def_impl(_in_step)
_start_rounds_p.def_abstract_eval(lambda prompt, *_, **__: prompt)
mlir.register_lowering(_start_rounds_p, mlir.lower_fun(_in_step, multiple_results=False))
mlir.register_lowering(_start_rounds_p, _lowered_on_cuda, platform="cuda")
