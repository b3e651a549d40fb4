r"""The body of earliest fit: a program places the requests of one instance, exact to the round.

It is the arithmetic of :mod:`jaxsched.engine.offline.earliest_fit`. The segments are too many for
registers, so they lie in the memory of the device, sorted, and a warp reads them a block at a time.

* A block is probed like the slots of strict order: one maximum over the bounds :math:`r_k` that
  :math:`p` violates, until it violates none. Then comes the next block. No block is looked at
  twice, since the starts that segments forbid begin in their order; among unsorted segments every
  jump would take a look at all of them.
* The search ends before the first block that begins when the request has ended.
* A newcomer moves the segments behind its start by a row or two, from the last block down. Lanes
  do not pass values to each other, so a block is read three times, from neighboring rows.

A lane thus reads what another has stored, and all wait for each other in between.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from jaxsched.engine.offline.earliest_fit import MARGIN, with_request
from jaxsched.engine.offline.gpu.body import Form, Request, violated
from jaxsched.engine.offline.gpu.refs import Limits, Refs
from jaxsched.engine.offline.slots import END, NEVER, Block


def shape_of(form: Form) -> tuple[int, int]:
    """Fields and rows of the segments of an instance."""
    return len(Block._fields), MARGIN + form.num_slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentRefs(Refs):
    """The memory of a program that keeps segments.

    Attributes:
      segments: int32 reference ``[3, rows]``, segments ascending, then empty ones that never end.
      wait: returns when all lanes have come here, and lets each see what the others have stored.
    """

    segments: Any
    wait: Callable[[], None]

    def end(self, row: jax.Array) -> jax.Array:
        """Load the end of one segment."""
        return self.segments[END, row]

    def ends(self, row: jax.Array, size: int) -> jax.Array:
        """Load the ends from a row on, ``[size]``."""
        return self.segments[END, pl.ds(row, size)]

    def take(self, row: jax.Array, size: int) -> Block:
        """Load segments from a row on, ``[size]`` each field."""
        fields = range(len(Block._fields))
        return Block(*(self.segments[field, pl.ds(row, size)] for field in fields))

    def put(self, row: Any, segments: Block) -> None:
        """Store segments from a row on."""
        for field, values in enumerate(segments):
            self.segments[field, pl.ds(row, values.shape[0])] = values


def place_requests(form: Form, refs: SegmentRefs) -> None:
    """Place every request of one instance, in int32 throughout."""
    _clear(form, refs)
    place = functools.partial(_place, form, refs, refs.limits())
    steps = np.int32(0), np.int32(form.num_requests)
    lax.fori_loop(*steps, place, Request(*refs.request(jnp.int32(0))))


def _clear(form: Form, refs: SegmentRefs) -> None:
    """Store that no segment but empty ones is there."""
    zero = jnp.zeros(form.block_size, jnp.int32)
    margin = jnp.zeros(MARGIN, jnp.int32)
    refs.put(0, Block(margin, margin, margin))

    def clear(block: jax.Array, done: jax.Array) -> jax.Array:
        refs.put(MARGIN + block * form.block_size, Block(zero + NEVER, zero, zero))
        return done

    lax.fori_loop(np.int32(0), np.int32(form.num_blocks), clear, jnp.int32(0))
    refs.wait()


def _place(
    form: Form, refs: SegmentRefs, limits: Limits, step: jax.Array, request: Request
) -> Request:
    following = Request(*refs.request(jnp.minimum(step + 1, form.num_requests - 1)))
    p = _earliest_start(form, refs, limits, step, request)
    refs.set_start(step, p)
    _insert(form, refs, step, request, p)
    return following


def _earliest_start(
    form: Form, refs: SegmentRefs, limits: Limits, step: jax.Array, request: Request
) -> jax.Array:
    """Find the first start at which the request fits, in one pass over the blocks, []."""
    size = form.block_size
    num_blocks = lax.div(2 * step + size - 1, size)

    def over_block(
        search: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        block, _, now = search
        row = MARGIN + block * size
        before, segments = refs.ends(row - 1, size), refs.take(row, size)

        def probe(jump: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            _, p = jump
            runs = before < jnp.minimum(segments.end, p + request.output)
            bounds = jnp.where(runs, violated(form, limits, segments, request, p), -1)
            return p, jnp.maximum(p, jnp.max(bounds))

        p = lax.while_loop(lambda jump: jump[1] > jump[0], probe, (jnp.int32(-1), now))[1]
        return block + 1, refs.end(row + size - 1), p

    def is_left(search: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        block, begin, p = search
        return (block < num_blocks) & (begin < p + request.output)

    zero = jnp.int32(0)
    return lax.while_loop(is_left, over_block, (zero, zero, zero))[2]


def _insert(form: Form, refs: SegmentRefs, step: jax.Array, request: Request, p: jax.Array) -> None:
    """Have the segments count a request started at ``p``, those from its start on."""
    size = form.block_size
    end = p + request.output
    own = request.prompt + (request.output if form.admission == "peak" else -p)

    def over_block(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        block, _ = state
        row = block * size
        shifted = (refs.take(row + k, size) for k in range(MARGIN + 1))
        placed = with_request(shifted, p, end, own, jnp.int32(1))
        refs.wait()  # or the block below would be stored before this one has been read
        refs.put(row + MARGIN, placed)
        return block - 1, refs.end(row + MARGIN - 1)

    def is_reached(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        block, block_end = state
        return (block >= 0) & (block_end >= p)

    # Padding reaches no block, and a request the last one, where there is room for it.
    last_block_end = jnp.where(request.output > 0, jnp.int32(NEVER), -1)
    lax.while_loop(is_reached, over_block, (lax.div(2 * step + 1, size), last_block_end))
    refs.wait()
