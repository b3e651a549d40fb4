r"""Earliest-fit list scheduling: each request at the first round at which it fits, exact.

Requests are taken in order, but each may start before those already placed, as long as it fits
among them and moves none: serial schedule generation, as project scheduling knows it.

The rounds :math:`t_1 \le t_2 \le \dots` at which a placed request starts or ends cut time into
segments :math:`(t_{k-1}, t_k]`, in each of which the same :math:`n_k` requests are active. They
hold :math:`y_k + n_k t` tokens in round :math:`t`, where :math:`y_k` sums :math:`s_j - p_j`: the
three arrays :math:`t, y, n` are the whole state. A candidate :math:`(s, o)` started at :math:`p`
has its last round in :math:`w = p + o`. In segment k use rises until :math:`u_k = \min(t_k, w)`,
so where :math:`p < t_k` and :math:`t_{k-1} < w` it fits if

.. math:: y_k + n_k u_k + s + u_k - p \le M.

Where it does not, no start before :math:`r_k = t_k - \max(0, M - s - y_k - n_k t_k)` will do: the
starts that segment k forbids are those of an interval that ends at :math:`r_k`. It begins after
:math:`t_{k-1} - o` and not after :math:`t_k - o`, so these intervals begin in the order of k, and
one pass over the segments, with :math:`p \leftarrow r_k` at each that forbids :math:`p`, finds the
first start that none forbids. Ended segments need no mask: :math:`r_k \le t_k \le p` moves nothing.

The discipline on this problem and the single pass are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.contract import Admission, Queues
from jaxsched.engine.offline.slots import END, NEVER, Block, any_of, set_rows, take_rows

_FIELDS = 3  # of a segment: its last round, y, and the number of active requests
MARGIN = 2  # rows that end at 0, so that each segment has two before it


class _Carry(NamedTuple):
    step: jax.Array  # [] requests placed
    slots: jax.Array  # [2 + K, 3, B] segments ascending, then empty ones that never end
    start: jax.Array  # [n, B]


def empty_slots(shape: tuple[int, int], rows: int) -> jax.Array:
    """Room for the segments of ``shape = [n, B]`` requests, in blocks of ``rows``."""
    num_requests, num_instances = shape
    num_slots = MARGIN + -(-2 * num_requests // rows) * rows
    full = (num_slots, _FIELDS, num_instances)
    row = lax.broadcasted_iota(jnp.int32, full, 0)
    is_end = lax.broadcasted_iota(jnp.int32, full, 1) == END
    return jnp.where(is_end, jnp.where(row < MARGIN, 0, NEVER), 0).astype(jnp.int32)


def start_rounds(
    queues: Queues, slots: jax.Array, start: jax.Array, *, admission: Admission, rows: int
) -> jax.Array:
    """Start rounds int32 ``[n, B]``; see :class:`~jaxsched.engine.contract.Placement`."""
    prompt, output, kv_capacity, max_num_seqs = queues
    is_peak = admission == "peak"

    def earliest_start(step: jax.Array, slots: jax.Array, s: jax.Array, o: jax.Array) -> jax.Array:
        """Find the first round [B] at which the candidate fits, in one pass over the segments."""
        room = kv_capacity - s

        def over_segment(now: jax.Array, before: jax.Array, segment: jax.Array) -> jax.Array:
            end, held, count = segment
            until = lax.min(end, now + o)
            if is_peak:
                is_over, lower = held > room - o, end
            else:
                is_over = held + count * until > room - (until - now)
                lower = end + jnp.minimum(held + count * end - room, 0)
            if max_num_seqs is not None:
                is_full = count >= max_num_seqs
                is_over, lower = is_over | is_full, lax.select(is_full, end, lower)
            return lax.select((before < until) & is_over, lax.max(now, lower), now)

        def over_block(block: jax.Array, now: jax.Array) -> jax.Array:
            # Row by row: a block taken whole would be copied first.
            begin = MARGIN + block * rows
            segment = take_rows(slots, begin - 1, 1)[0]
            for k in range(rows):
                before, segment = segment[END], take_rows(slots, begin + k, 1)[0]
                now = over_segment(now, before, segment)
            return now

        num_blocks = (2 * step + rows - 1) // rows
        return fori_loop(jnp.int32(0), num_blocks, over_block, jnp.zeros_like(s))

    def insert(
        step: jax.Array, slots: jax.Array, now: jax.Array, s: jax.Array, o: jax.Array
    ) -> jax.Array:
        """Slots with a request started at ``now``, which splits the segments of its two ends."""
        is_real = o > 0
        now = lax.select(is_real, now, jnp.full_like(now, NEVER))  # padding changes no segment
        last = now + o
        own = lax.select(is_real, s + o if is_peak else s - now, jnp.zeros_like(now))
        one = is_real.astype(jnp.int32)[None]
        own = own[None]

        def over_block(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            block, slots = state
            begin = block * rows
            window = take_rows(slots, begin, rows + MARGIN)
            windows = (window[k : k + rows] for k in range(MARGIN + 1))
            shifted = (Block(*jnp.moveaxis(segments, 1, 0)) for segments in windows)
            placed = jnp.stack(with_request(shifted, now, last, own, one), axis=1)
            return block - 1, set_rows(slots, begin + MARGIN, placed)

        def is_reached(state: tuple[jax.Array, jax.Array]) -> jax.Array:
            block, slots = state
            block_end = take_rows(slots, block * rows + (rows + MARGIN - 1), 1)[0, END]
            return (block >= 0) & any_of(block_end >= now)

        last_block = (2 * step + 1) // rows
        return while_loop(is_reached, over_block, (last_block, slots))[1]

    def place(carry: _Carry) -> _Carry:
        step, slots, start = carry
        s, o = take_rows(prompt, step, 1)[0], take_rows(output, step, 1)[0]
        now = earliest_start(step, slots, s, o)
        slots = insert(step, slots, now, s, o)
        return _Carry(step + 1, slots, set_rows(start, step, now[None]))

    num_requests = prompt.shape[0]
    carry = _Carry(jnp.int32(0), slots, start)
    return while_loop(lambda carry: carry.step < num_requests, place, carry).start


def with_request(
    shifted: Iterable[Block], now: jax.Array, last: jax.Array, own: jax.Array, one: jax.Array
) -> Block:
    """Count a request that runs in rounds (now, last], which splits the segments of its two ends.

    Args:
      shifted: what stands two rows before each row, one row before it, and in it.
      now: the start of the request.
      last: its last round.
      own: what it adds to y.
      one: what it adds to n.
    """
    two_before, one_before, here = shifted
    first, second = (jnp.broadcast_to(t, here.end.shape) for t in (now, last))
    with_first = lax.max(one_before.end, lax.min(here.end, first))
    with_first_before = lax.max(two_before.end, lax.min(one_before.end, first))
    end = lax.max(with_first_before, lax.min(with_first, second))
    # A split segment is there twice: up to the start or end, and after it.
    is_ahead, is_until_end = one_before.end < first, two_before.end < second
    running = one_before.held + own, one_before.count + one
    held, count = (
        lax.select(is_ahead, unchanged, lax.select(is_until_end, more, after))
        for unchanged, more, after in zip(here[1:], running, two_before[1:], strict=True)
    )
    return Block(end, held, count)
