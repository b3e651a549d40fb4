"""The kernel, built for each compiler: Triton, Mosaic GPU, and the interpreter of Pallas.

This module imports Pallas, so it is imported by those who lower for a GPU, and by tests.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jaxsched.engine.contract import Queues
from jaxsched.engine.gpu.operation import Compiler
from jaxsched.engine.offline.gpu.body import Form, place_requests
from jaxsched.engine.offline.gpu.refs import Limits, Refs


def start_rounds(
    form: Form, compiler: Compiler, queues: Queues, *, num_warps: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Place all requests, each instance by a program of its own.

    Args:
      form: what is compiled in.
      compiler: who compiles it.
      queues: the requests.
      num_warps: of a program; for Triton only, since Mosaic GPU has four.

    Returns:
      Start rounds int32 ``[n, B]`` in serving order, and ``[B]`` whether the slots did not
      suffice; then the starts of that instance are wrong.
    """
    caps = [] if queues.max_num_seqs is None else [queues.max_num_seqs]
    arrays = [queues.prompt.T, queues.output.T, queues.kv_capacity, *caps]
    if compiler == "mosaic_gpu":
        start, overflow = _in_whole_arrays(form, arrays)
    else:
        start, overflow = _in_rows(form, compiler, num_warps, arrays)
    return start.T, overflow > 0


def _in_rows(form: Form, compiler: Compiler, num_warps: int, arrays: list[Any]) -> list[jax.Array]:
    row = pl.BlockSpec((None, form.num_requests), lambda instance: (instance, 0))
    one = pl.BlockSpec((None,), lambda instance: (instance,))

    def strict(*refs: Any) -> None:
        place_requests(form, _refs(refs))

    return pl.pallas_call(
        strict,
        grid=(arrays[0].shape[0],),
        in_specs=[row, row, *([one] * (len(arrays) - 2))],
        out_specs=[row, one],
        out_shape=_results(arrays),
        compiler_params=triton.CompilerParams(num_warps=num_warps, num_stages=1),
        interpret=compiler == "interpreter",
        name="strict",
    )(*arrays)


def _in_whole_arrays(form: Form, arrays: list[Any]) -> list[jax.Array]:
    from jax.experimental.pallas import mosaic_gpu

    def strict(*refs: Any) -> None:
        place_requests(form, _refs(refs, lax.axis_index("instance")))

    return mosaic_gpu.kernel(
        strict,
        out_type=_results(arrays),
        grid=(arrays[0].shape[0],),
        grid_names=("instance",),
        compiler_params=mosaic_gpu.CompilerParams(
            lowering_semantics=mosaic_gpu.LoweringSemantics.Warpgroup
        ),
    )(*arrays)


def _refs(refs: tuple[Any, ...], *at: jax.Array) -> Refs:
    prompt, output, kv_capacity, *caps, start, overflow = refs
    limits = Limits(kv_capacity, caps[0] if caps else None)
    return Refs(prompt, output, limits, start, overflow, at)


def _results(arrays: list[Any]) -> list[jax.ShapeDtypeStruct]:
    num_instances = arrays[0].shape[:1]
    return [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in (arrays[0].shape, num_instances)]
