"""The kernel, built for Triton and for the interpreter of Pallas.

This module imports Pallas, so it is imported by those who lower for a GPU, and by tests.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jaxsched.engine.gpu.operation import Compiler
from jaxsched.engine.online.arrivals import Checked, streams_of
from jaxsched.engine.online.gpu.body import Given, Kept, Ranks, Scratch, serve_stream
from jaxsched.engine.online.intervals import NUM_BUCKETS
from jaxsched.engine.online.queue import Waiting
from jaxsched.engine.online.state import (
    Choices,
    Limits,
    Records,
    Totals,
    no_counts,
    no_records,
    no_totals,
)
from jaxsched.model.itl import ITL_EDGES_S


def serve(
    choices: Choices, compiler: Compiler, given: Checked, limits: Limits, until: jax.Array
) -> tuple[Records, Totals]:
    """Serve all streams, each by a program of its own.

    Args:
      choices: what is compiled in; quick ones. ``slots`` is a power of two.
      compiler: who compiles it.
      given: requests ``[B, n]``.
      limits: of the servers ``[B]``.
      until: float64 ``[B]`` seconds.

    Returns:
      Records ``[B, n]`` and totals ``[B]``, ``busy`` up to the end.
    """
    reads, kept = laid_out(choices, given, limits, until)
    edges = jnp.asarray(ITL_EDGES_S)
    num_streams = until.shape[0]
    of_seats = jax.ShapeDtypeStruct((num_streams, choices.slots + 1), jnp.int32)
    outputs = kept, Scratch(*[of_seats] * 3), no_totals(limits.block_size, None)
    is_interpreted = compiler == "interpreter"
    fence = _none_needed if is_interpreted else triton.debug_barrier

    def serve_one(*refs: Any) -> None:
        reads, edges, _, kept, scratch, totals = jax.tree.unflatten(structure, refs)
        serve_stream(choices, reads, edges, kept, scratch, totals, fence)

    operands, results = jax.tree.leaves((reads, edges, kept)), jax.tree.leaves(outputs)
    structure = jax.tree.structure((reads, edges, kept, *outputs))
    num_kept = len(jax.tree.leaves(kept))
    first_kept = len(operands) - num_kept
    written = pl.pallas_call(
        serve_one,
        grid=(num_streams,),
        in_specs=[_block(leaf, is_shared=leaf is edges) for leaf in operands],
        out_specs=[_block(leaf) for leaf in results],
        out_shape=[jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in results],
        input_output_aliases={first_kept + place: place for place in range(num_kept)},
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
        interpret=is_interpreted,
        name="serve",
    )(*operands)
    kept, _, totals = jax.tree.unflatten(jax.tree.structure(outputs), written)
    records = jax.tree.map(lambda rows: rows[:, :-1], kept.records)
    return records, totals._replace(histogram=kept.histogram)


def laid_out(
    choices: Choices, given: Checked, limits: Limits, until: jax.Array
) -> tuple[Given, Kept]:
    """Lay out rows ``[B, rows]`` and numbers ``[B]``; arguments as for :func:`serve`."""
    streams, order, waiting = streams_of(choices, given, limits, "store")
    num_streams = until.shape[0]
    counts = no_counts(NUM_BUCKETS if choices.has_histogram else None, num_streams)
    ranks, levels = None, ()
    if isinstance(waiting, Waiting):
        ranks = Ranks(waiting.rank, waiting.ranked, waiting.arrivals)
        levels = waiting.levels
    flat = streams, ranks, Kept(order, levels, no_records(streams.prompt), counts)
    streams, ranks, kept = jax.tree.map(lambda rows: rows.reshape(-1, num_streams).T, flat)
    limits = limits._replace(is_chunked=limits.is_chunked.astype(jnp.int32))
    return Given(streams, ranks, limits, until), kept


def _none_needed() -> None:
    """Order what one thread stores and loads."""


def _block(array: Any, *, is_shared: bool = False) -> pl.BlockSpec:
    """Hand a program what is its stream's, or everything that is shared."""
    if is_shared:
        return pl.BlockSpec(array.shape, lambda stream: (0,))
    if array.ndim == 1:
        return pl.BlockSpec((None,), lambda stream: (stream,))
    return pl.BlockSpec((None, array.shape[1]), lambda stream: (stream, 0))
