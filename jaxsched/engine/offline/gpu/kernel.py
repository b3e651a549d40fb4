"""The kernels, built for each compiler: Triton, Mosaic GPU, and the interpreter of Pallas.

This module imports Pallas, so it is imported by those who lower for a GPU, and by tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jaxsched.engine.contract import Queues
from jaxsched.engine.gpu.operation import Compiler
from jaxsched.engine.offline.gpu import body, segments
from jaxsched.engine.offline.gpu.body import Form
from jaxsched.engine.offline.gpu.refs import Limits, SlotRefs
from jaxsched.engine.offline.gpu.segments import SegmentRefs


def start_rounds(
    form: Form, compiler: Compiler, queues: Queues, *, num_warps: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Place all requests in strict order, each instance by a program of its own.

    Args:
      form: what is compiled in.
      compiler: who compiles it.
      queues: the requests.
      num_warps: of a program; for Triton only, since Mosaic GPU has four.

    Returns:
      Start rounds int32 ``[n, B]`` in serving order, and ``[B]`` whether the slots did not
      suffice; then the starts of that instance are wrong.
    """
    arrays = _arrays(queues)
    num_instances = arrays[0].shape[0]
    results = [_int32(*arrays[0].shape), _int32(num_instances)]

    def strict(*refs: Any, at: tuple[jax.Array, ...] = ()) -> None:
        *shared, overflow = refs
        body.place_requests(form, SlotRefs(**_named(shared), overflow=overflow, at=at))

    if compiler == "mosaic_gpu":
        start, overflow = _in_whole_arrays(strict, arrays, results)
    else:
        start, overflow = _in_rows(strict, arrays, results, compiler, num_warps)
    return start.T, overflow > 0


def earliest_fit_start_rounds(
    form: Form, compiler: Compiler, queues: Queues, *, num_warps: int = 1
) -> jax.Array:
    """Place all requests by earliest fit, each instance by a program of its own.

    Args:
      form: what is compiled in.
      compiler: who compiles it; not Mosaic GPU, of which it asks too much.
      queues: the requests.
      num_warps: of a program.

    Returns:
      Start rounds int32 ``[n, B]`` in serving order.
    """
    arrays = _arrays(queues)
    num_instances = arrays[0].shape[0]
    results = [_int32(*arrays[0].shape), _int32(num_instances, *segments.shape_of(form))]
    # The interpreter has no lanes that could wait.
    wait = triton.debug_barrier if compiler == "triton" else lambda: None

    def earliest_fit(*refs: Any) -> None:
        *shared, memory = refs
        segments.place_requests(form, SegmentRefs(**_named(shared), segments=memory, wait=wait))

    return _in_rows(earliest_fit, arrays, results, compiler, num_warps)[0].T


def _in_rows(
    place: Callable[..., None],
    arrays: list[Any],
    results: list[Any],
    compiler: Compiler,
    num_warps: int,
) -> list[jax.Array]:
    def of_one(array: Any) -> pl.BlockSpec:
        rest = array.shape[1:]
        return pl.BlockSpec((None, *rest), lambda instance: (instance, *(0 for _ in rest)))

    return pl.pallas_call(
        place,
        grid=(arrays[0].shape[0],),
        in_specs=[of_one(array) for array in arrays],
        out_specs=[of_one(array) for array in results],
        out_shape=results,
        compiler_params=triton.CompilerParams(num_warps=num_warps, num_stages=1),
        interpret=compiler == "interpreter",
        name=place.__name__,
    )(*arrays)


def _in_whole_arrays(
    place: Callable[..., None], arrays: list[Any], results: list[Any]
) -> list[jax.Array]:
    from jax.experimental.pallas import mosaic_gpu

    def place_one(*refs: Any) -> None:
        place(*refs, at=(lax.axis_index("instance"),))

    return mosaic_gpu.kernel(
        place_one,
        out_type=results,
        grid=(arrays[0].shape[0],),
        grid_names=("instance",),
        compiler_params=mosaic_gpu.CompilerParams(
            lowering_semantics=mosaic_gpu.LoweringSemantics.Warpgroup
        ),
    )(*arrays)


def _arrays(queues: Queues) -> list[jax.Array]:
    """Lay out what every kernel is given, instances first."""
    caps = [] if queues.max_num_seqs is None else [queues.max_num_seqs]
    return [queues.prompt.T, queues.output.T, queues.kv_capacity, *caps]


def _named(refs: list[Any]) -> dict[str, Any]:
    """Name the references to those arrays, and to the starts."""
    prompt, output, kv_capacity, *caps, start = refs
    limits = Limits(kv_capacity, caps[0] if caps else None)
    return {"prompt": prompt, "output": output, "limits_of": limits, "start": start}


def _int32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)
