r"""Seats of the requests that decode, ``[seats, B]``, and the one pass over them in a step.

All that decode store one token a step, together. With D the decode steps so far, a request is
therefore known by two constants: the D at which it ends, and the D at which it next needs a block.
Nothing of a seat changes in a step but the second, once in ``block_size`` steps. Seats are in no
order; ``admission`` numbers say who came first. A free seat ends at :data:`NEVER`.

The pass runs once an iteration and catches up with all steps since the last one: a request whose
next block was due at :math:`u \le D` has taken :math:`\lfloor (D - u) / \text{block size} \rfloor
+ 1` of them by the end of step D (one that ends at D makes no step D).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.online._lanes import choose
from jaxsched._slots import set_rows, take_rows

NEVER = 2**31 - 1
ROWS = 8  # seats in a block of the pass
LONGEST_SKIP = 2**20  # steps; float32 divides what lies within it exactly


class Seats(NamedTuple):
    """``[(seats + 1) B]``, streams innermost; the last row takes the writes of streams without any.

    Flat, because the CPU compiler unrolls short inner loops before it would vectorise them.
    """

    request: jax.Array  # int32
    admission: jax.Array  # int32, ascending in the order of admission
    end: jax.Array  # int32, D at which it has its last token
    block: jax.Array  # int32, D at which it needs its next block
    gap: jax.Array  # float32, longest time between two of its tokens, seconds


class Survey(NamedTuple):
    """What the pass learns, ``[B]``."""

    ending: jax.Array  # steps to the earliest end, times the power of two that exceeds all seats,
    # plus the seat with that end
    num_ending: jax.Array  # seats that end at D
    free_seat: jax.Array  # the first free one
    last_seat: jax.Array  # the last one taken, or -1
    blocks: jax.Array  # blocks asked for since the last pass


def empty_seats(num_seats: int, num_streams: int) -> Seats:
    """Only free seats, their number rounded up to whole blocks of rows."""
    shape = ((-(-num_seats // ROWS) * ROWS + 1) * num_streams,)
    never = jnp.full(shape, NEVER, jnp.int32)
    zero = jnp.zeros(shape, jnp.int32)
    return Seats(zero, zero, never, never, jnp.zeros(shape, jnp.float32))


def seat_stride(seats: Seats, num_streams: int) -> int:
    """The power of two that exceeds all seats."""
    return 1 << (seats.end.shape[0] // num_streams - 1).bit_length()


def survey(
    seats: Seats, tick: jax.Array, block_size: jax.Array, pause: jax.Array, num_blocks: jax.Array
) -> tuple[Seats, Survey]:
    """Catch up with the steps before ``tick`` and ask for the blocks of the step to come.

    Args:
      seats: of B streams.
      tick: int32 ``[B]``, D.
      block_size: int32 ``[B]``.
      pause: float32 ``[B]``, the longest of the steps since the last pass, or 0.
      num_blocks: int32 ``[]``, blocks of rows that are looked at; seats beyond are free.

    Returns:
      Seats with ``block > tick``, and what was learnt.
    """
    num_streams = tick.shape[0]
    width = ROWS * num_streams
    own_row = lax.div(lax.iota(jnp.int32, width), jnp.int32(num_streams))
    per_block = 1.0 / block_size.astype(jnp.float32)

    def spread(lanes: jax.Array) -> jax.Array:
        return jnp.broadcast_to(lanes, (ROWS, num_streams)).reshape(width)

    tick_rows, size, scale, pauses = map(spread, (tick, block_size, per_block, pause))
    limit = num_blocks * ROWS
    stride = seat_stride(seats, num_streams)
    far = NEVER // stride

    def is_never(end: jax.Array) -> jax.Array:
        return (end == NEVER).astype(jnp.int32)

    # Selects between loads keep the compiler from vectorising; minima and maxima do not.
    def blocks_taken(end: jax.Array, due: jax.Array) -> jax.Array:
        late = jnp.maximum(jnp.minimum(tick_rows, end - 1) - due + size, 0)
        return ((late.astype(jnp.float32) + jnp.float32(0.5)) * scale).astype(jnp.int32)

    def look(block: jax.Array, known: Survey) -> Survey:
        row = block * ROWS + own_row
        end, due = (take_rows(array, block * width, width) for array in (seats.end, seats.block))
        taken_row = row - (row + 1) * is_never(end)
        free_row = limit - (limit - row) * is_never(end)
        return Survey(
            ending=jnp.minimum(known.ending, jnp.minimum(end - tick_rows, far) * stride + row),
            num_ending=known.num_ending + (end == tick_rows).astype(jnp.int32),
            free_seat=jnp.minimum(known.free_seat, free_row),
            last_seat=jnp.maximum(known.last_seat, taken_row),
            blocks=known.blocks + blocks_taken(end, due),
        )

    def catch_up(block: jax.Array, written: tuple[jax.Array, jax.Array]) -> Any:
        begin = block * width
        dues, gaps = written
        end, due, gap = (take_rows(array, begin, width) for array in (seats.end, dues, gaps))
        due += blocks_taken(end, due) * size
        gap = jnp.maximum(gap, pauses)
        return set_rows(dues, begin, due), set_rows(gaps, begin, gap)

    zero = jnp.zeros(width, jnp.int32)
    start = Survey(zero + NEVER, zero, zero + limit, zero - 1, zero)
    rows = lax.fori_loop(jnp.int32(0), num_blocks, look, start)
    # The bound makes the second pass wait for the first; else XLA copies what is read and written.
    in_use = lax.div(jnp.max(rows.last_seat) + ROWS, jnp.int32(ROWS))
    dues, gaps = lax.fori_loop(jnp.int32(0), in_use, catch_up, (seats.block, seats.gap))
    seats = seats._replace(block=dues, gap=gaps)
    ending, num_ending, free_seat, last_seat, blocks = (
        rows.reshape(ROWS, num_streams) for rows in rows
    )
    return seats, Survey(
        ending=jnp.min(ending, axis=0),
        num_ending=jnp.sum(num_ending, axis=0, dtype=jnp.int32),
        free_seat=jnp.min(free_seat, axis=0),
        last_seat=jnp.max(last_seat, axis=0),
        blocks=jnp.sum(blocks, axis=0, dtype=jnp.int32),
    )


def latest(seats: Seats, num_blocks: jax.Array, num_streams: int) -> jax.Array:
    """The seat of the request admitted last, int32 ``[B]``; any seat if none is taken."""
    width = ROWS * num_streams
    own_row = lax.div(lax.iota(jnp.int32, width), jnp.int32(num_streams))

    def over_block(
        block: jax.Array, carry: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        most, seat = carry
        is_free = take_rows(seats.end, block * width, width) == NEVER
        key = choose(is_free, -1, take_rows(seats.admission, block * width, width))
        return jnp.maximum(most, key), choose(key > most, block * ROWS + own_row, seat)

    start = jnp.full(width, -1, jnp.int32), jnp.zeros(width, jnp.int32)
    most, seat = (
        rows.reshape(ROWS, num_streams)
        for rows in lax.fori_loop(jnp.int32(0), num_blocks, over_block, start)
    )
    return jnp.max(choose(most == jnp.max(most, axis=0)[None], seat, 0), axis=0)
