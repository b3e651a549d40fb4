r"""Seats of the requests that decode, and the one pass over them in a step.

All that decode store one token a step, together. With D the decode steps so far, a request is
therefore known by two numbers: the D at which it ends, and the D at which it next needs a block.
Nothing of a seat changes in a step but the second, once in ``block_size`` steps. Seats are in no
order; ``admission`` numbers say who came first. A free seat ends at :data:`NEVER`.

The pass runs once an iteration and catches up with all steps since the last one: a request whose
next block was due at :math:`u \le D` has taken :math:`\lfloor (D - u) / \text{block size} \rfloor
+ 1` of them by the end of step D (one that ends at D makes no step D).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import fori_loop
from jaxsched.engine.offline.slots import set_rows, take_rows
from jaxsched.engine.online.lanes import Memory, across, choose, num_rows

NEVER = 2**31 - 1
ROWS = 8  # seats in a block of the pass
LONGEST_SKIP = 2**20  # steps; float32 divides what lies within it exactly


class Seats(NamedTuple):
    """``[(seats + 1) B]``; the last row takes the writes of streams that have none to make.

    A program of one stream keeps in registers what the pass looks at: there a row is a slot of a
    vector ``[seats]``, and the first three are in memory.
    """

    request: Any  # int32
    admission: Any  # int32, ascending in the order of admission
    tier: Any  # int32, larger is evicted first
    end: jax.Array  # int32, D at which it has had its last token
    block: jax.Array  # int32, D at which it needs its next block
    max_itl: jax.Array  # float64, longest time between two of its tokens, seconds


class Survey(NamedTuple):
    """What the pass learns, ``[B]``."""

    ending: jax.Array  # steps to the earliest end, times a stride, plus the seat with that end
    num_ending: jax.Array  # seats that end at D
    free_seat: jax.Array  # the first free one
    last_seat: jax.Array  # the last one taken, or -1
    blocks: jax.Array  # blocks asked for since the last pass


def empty_seats(num_seats: int, num_streams: int) -> Seats:
    """Only free seats, their number rounded up to whole blocks of rows."""
    shape = ((-(-num_seats // ROWS) * ROWS + 1) * num_streams,)
    never = jnp.full(shape, NEVER, jnp.int32)
    zero = jnp.zeros(shape, jnp.int32)
    return Seats(zero, zero, zero, never, never, jnp.zeros(shape, jnp.float64))


def seat_bits(seats: Seats, lanes: jax.Array) -> int:
    """How many bits the number of a seat has; two to that power is the stride of a survey."""
    return nowhere(seats, lanes).bit_length()


def nowhere(seats: Seats, lanes: jax.Array) -> int:
    """Say which row takes the writes of streams that have none to make; no slot does."""
    return num_rows(seats.end, lanes) - (lanes.ndim > 0)


def survey(
    seats: Seats, tick: jax.Array, block_size: jax.Array, pause: jax.Array, num_blocks: jax.Array
) -> tuple[Seats, Survey]:
    """Catch up with the steps before ``tick`` and ask for the blocks of the step to come.

    Args:
      seats: of B streams.
      tick: int32 ``[B]``, D.
      block_size: int32 ``[B]``.
      pause: float64 ``[B]``, the longest of the steps since the last pass, or 0.
      num_blocks: int32 ``[]``, blocks of rows that are looked at; seats beyond are free.

    Returns:
      Seats with ``block > tick``, and what was learnt.
    """
    if tick.ndim == 0:
        return _survey_slots(seats, tick, block_size, pause)
    num_streams = tick.shape[0]
    width = ROWS * num_streams
    own_row = _own_row(num_streams)
    limit = num_blocks * ROWS
    stride = 1 << seat_bits(seats, tick)

    per_block = 1.0 / block_size.astype(jnp.float32)
    tick_rows, size, scale, pauses = map(_spread, (tick, block_size, per_block, pause))
    blocks_taken = functools.partial(_blocks_taken, tick_rows, size, scale)

    def look(block: jax.Array, known: Survey) -> Survey:
        row = block * ROWS + own_row
        end, due = (take_rows(array, block * width, width) for array in (seats.end, seats.block))
        seen = _seen(tick_rows, end, row, limit, stride, blocks_taken(end, due))
        return Survey(
            ending=jnp.minimum(known.ending, seen.ending),
            num_ending=known.num_ending + seen.num_ending,
            free_seat=jnp.minimum(known.free_seat, seen.free_seat),
            last_seat=jnp.maximum(known.last_seat, seen.last_seat),
            blocks=known.blocks + seen.blocks,
        )

    def catch_up(block: jax.Array, written: tuple[jax.Array, jax.Array]) -> Any:
        begin = block * width
        dues, longest = written
        end, due, itl = (take_rows(array, begin, width) for array in (seats.end, dues, longest))
        due += blocks_taken(end, due) * size
        itl = jnp.maximum(itl, pauses)
        return set_rows(dues, begin, due), set_rows(longest, begin, itl)

    zero = jnp.zeros(width, jnp.int32)
    start = Survey(zero + NEVER, zero, zero + limit, zero - 1, zero)
    rows = fori_loop(jnp.int32(0), num_blocks, look, start)
    # The bound makes the second pass wait for the first; else XLA copies what is read and written.
    in_use = blocks_in_use(rows.last_seat)
    written = seats.block, seats.max_itl
    dues, longest = fori_loop(jnp.int32(0), in_use, catch_up, written)

    return seats._replace(block=dues, max_itl=longest), Survey(
        ending=across(jnp.minimum, rows.ending, num_streams),
        num_ending=across(jnp.add, rows.num_ending, num_streams),
        free_seat=across(jnp.minimum, rows.free_seat, num_streams),
        last_seat=across(jnp.maximum, rows.last_seat, num_streams),
        blocks=across(jnp.add, rows.blocks, num_streams),
    )


def _survey_slots(
    seats: Seats, tick: jax.Array, block_size: jax.Array, pause: jax.Array
) -> tuple[Seats, Survey]:
    """Survey one stream, whose seats are slots of a vector."""
    num_slots, stride = seats.end.shape[0], 1 << seat_bits(seats, tick)
    slot, limit = lax.iota(jnp.int32, num_slots), jnp.int32(num_slots)
    # A GPU divides float32 quickly, and off by two units.
    scale = (1.0 / block_size.astype(jnp.float64)).astype(jnp.float32)
    blocks = _blocks_taken(tick, block_size, scale, seats.end, seats.block)
    seen = _seen(tick, seats.end, slot, limit, stride, blocks)
    seats = seats._replace(
        block=seats.block + blocks * block_size, max_itl=jnp.maximum(seats.max_itl, pause)
    )
    return seats, Survey(
        ending=jnp.min(seen.ending),
        num_ending=jnp.sum(seen.num_ending, dtype=jnp.int32),
        free_seat=jnp.min(seen.free_seat),
        last_seat=jnp.max(seen.last_seat),
        blocks=jnp.sum(seen.blocks, dtype=jnp.int32),
    )


def _seen(
    tick: jax.Array, end: jax.Array, seat: jax.Array, limit: jax.Array, stride: int, blocks: Any
) -> Survey:
    """Say what each seat adds to a survey."""
    is_free = (end == NEVER).astype(jnp.int32)
    return Survey(
        ending=jnp.minimum(end - tick, NEVER // stride) * stride + seat,
        num_ending=(end == tick).astype(jnp.int32),
        free_seat=limit - (limit - seat) * is_free,
        last_seat=seat - (seat + 1) * is_free,
        blocks=blocks,
    )


def _blocks_taken(
    tick: jax.Array, size: jax.Array, scale: jax.Array, end: jax.Array, due: jax.Array
) -> jax.Array:
    # Selects between loads keep the compiler from vectorising; minima and maxima do not.
    late = jnp.maximum(jnp.minimum(tick, end - 1) - due + size, 0)
    return ((late.astype(jnp.float32) + jnp.float32(0.5)) * scale).astype(jnp.int32)


def blocks_in_use(last_seat: jax.Array) -> jax.Array:
    """Blocks of rows up to the last seat taken in any stream, int32 ``[]``."""
    last = last_seat if last_seat.ndim == 0 else jnp.max(last_seat)
    return lax.div(last + ROWS, jnp.int32(ROWS))


def worst(
    seats: Seats, key: Any, num_blocks: jax.Array, lanes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Find the seat taken with the largest key, of equals the one admitted first.

    Args:
      seats: of B streams.
      key: int32 ``[(seats + 1) B]``, at least 0.
      num_blocks: as for :func:`survey`.
      lanes: anything ``[B]``.

    Returns:
      The seat, int32 ``[B]``, and its key, -1 if no seat is taken.
    """
    if lanes.ndim == 0:
        return _worst_slot(seats, key)
    num_streams = lanes.shape[0]
    width = ROWS * num_streams
    own_row = _own_row(num_streams)

    def over_block(block: jax.Array, best: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        most, first, _ = best
        begin = block * width
        end, keys, admission = (
            take_rows(array, begin, width) for array in (seats.end, key, seats.admission)
        )
        keys = choose(end == NEVER, -1, keys)
        is_better = (keys > most) | ((keys == most) & (admission < first))
        return choose(is_better, (keys, admission, block * ROWS + own_row), best)

    none = jnp.full(width, -1, jnp.int32)
    best = fori_loop(jnp.int32(0), num_blocks, over_block, (none, none + NEVER, none + 1))
    most, first, seat = best
    top = across(jnp.maximum, most, num_streams)
    first = choose(most == _spread(top), first, NEVER)
    earliest = across(jnp.minimum, first, num_streams)
    return across(jnp.maximum, choose(first == _spread(earliest), seat, 0), num_streams), top


def _worst_slot(seats: Seats, key: Memory) -> tuple[jax.Array, jax.Array]:
    """Find it among the slots of one stream."""
    num_slots = seats.end.shape[0]
    keys = choose(seats.end == NEVER, -1, key.ref[:num_slots])
    top = jnp.max(keys)
    first = choose(keys == top, seats.admission.ref[:num_slots], NEVER)
    slot = lax.iota(jnp.int32, num_slots)
    return jnp.max(choose(first == jnp.min(first), slot, 0)), top


def _spread(lanes: jax.Array) -> jax.Array:
    """Repeat ``[B]`` in all rows of a block, by copies: XLA broadcasts one number at a time."""
    return lax.concatenate([lanes] * ROWS, 0)


def _own_row(num_streams: int) -> jax.Array:
    return lax.div(lax.iota(jnp.int32, ROWS * num_streams), jnp.int32(num_streams))
