r"""Strict-order list scheduling with look-ahead: many instances in step, exact to the round.

Requests are placed one at a time, each at the earliest round not before its predecessor's
start. Keep the running requests sorted by their end :math:`e_1 \le \dots \le e_K`. Request
:math:`j` started at :math:`p_j` holds :math:`b_j + t` tokens in round :math:`t`, where
:math:`b_j = s_j - p_j`. With :math:`n_k = K - k + 1` and the suffix sums
:math:`S_k = \sum_{j \ge k} b_j`, the requests that end no earlier than :math:`e_k` hold
:math:`S_k + n_k t` tokens together: the two arrays :math:`e, S` are the whole state.

A candidate :math:`(s, o)` started at :math:`p` would hold :math:`s + t - p`. Use rises until a
request ends, so for each :math:`k` only :math:`u_k = \min(e_k, p + o)` need be checked. If

.. math:: S_k + n_k u_k + s + u_k - p > M

then no start before

.. math:: r_k = e_k - \max(0,\; M - s - S_k - n_k e_k)

is feasible: a later start holds less at :math:`e_k`, and until it reaches :math:`e_k` its last
round comes later, when the others hold more. So :math:`p` jumps to the largest such
:math:`r_k` and is probed again until nothing is violated; each jump is a lower bound, hence
the result equals the scan of every round.

Ended requests need no masks: :math:`r_k \le e_k \le p` moves nothing. Their sums may wrap in
int32, which for the same reason does no harm. The smallest end is therefore the slot that a
newcomer takes: slots shift down by one, up to the newcomer's place.

The slots form blocks of rows. Only the blocks that hold a running request are visited, a
number that rises and falls during the run inside one compiled loop.

The jump to :math:`r_k` and the sorted state are ours; the discipline is that of MC-SF
(Jaillet et al., 2025, arXiv:2502.07115) and Sorted-F (Wang, Ye, Zhou, 2025, arXiv:2508.06133).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.loops import fori_loop, while_loop
from jaxsched.engine.contract import Admission, Queues
from jaxsched.engine.offline.slots import END, NEVER, any_of, set_rows, take_rows

_FIELDS = 2  # of a slot: its end and its suffix sum
_SUM = 1


class _Carry(NamedTuple):
    step: jax.Array  # [] requests placed
    first: jax.Array  # [] block with the earliest running request
    now: jax.Array  # [B] start of the last request placed
    slots: jax.Array  # [K + 1, 2, B] ends ascending and suffix sums; the last row is a sentinel
    start: jax.Array  # [n, B]


def empty_slots(shape: tuple[int, int], rows: int) -> jax.Array:
    """Slots for ``shape = [n, B]`` requests in blocks of ``rows``, all ended at round 0."""
    num_requests, num_instances = shape
    num_slots = -(-num_requests // rows) * rows
    full = (num_slots + 1, _FIELDS, num_instances)
    is_sentinel = lax.broadcasted_iota(jnp.int32, full, 0) == num_slots
    is_end = lax.broadcasted_iota(jnp.int32, full, 1) == END
    return jnp.where(is_sentinel & is_end, NEVER, 0).astype(jnp.int32)


def start_rounds(
    queues: Queues, slots: jax.Array, start: jax.Array, *, admission: Admission, rows: int
) -> jax.Array:
    """Start rounds int32 ``[n, B]``; see :class:`~jaxsched.engine.contract.Placement`."""
    prompt, output, kv_capacity, max_num_seqs = queues
    num_slots = slots.shape[0] - 1
    num_blocks = num_slots // rows
    row = lax.broadcasted_iota(jnp.int32, (rows, 1), 0)

    def earliest_start(
        first: jax.Array, slots: jax.Array, now: jax.Array, s: jax.Array, o: jax.Array
    ) -> jax.Array:
        """Find the largest bound r_k that a start at ``now`` violates, [B]; ``now`` if none."""

        def over_block(block: jax.Array, bound: jax.Array) -> jax.Array:
            begin = block * rows
            ends, sums = _split(take_rows(slots, begin, rows))
            count = num_slots - begin - row
            room = (kv_capacity - s)[None]
            if admission == "peak":
                is_over = sums > room - o[None]
                lower = ends
            else:
                last = lax.min(ends, jnp.broadcast_to((now + o)[None], ends.shape))
                is_over = sums + count * last > room - (last - now[None])
                lower = ends + jnp.minimum(0, sums + count * ends - room)
            bound = lax.select(is_over, lax.max(bound, lower), bound)
            if max_num_seqs is None:
                return bound
            is_full = count >= max_num_seqs[None]
            return lax.select(is_full, lax.max(bound, ends), bound)

        bound = jnp.broadcast_to(now[None], (rows, now.shape[0]))
        return jnp.max(fori_loop(first, num_blocks, over_block, bound), axis=0)

    def insert(first: jax.Array, slots: jax.Array, end: jax.Array, held: jax.Array) -> jax.Array:
        """Slots with a request ending at ``end`` in place of the one that ended first."""

        def over_block(block: jax.Array, slots: jax.Array) -> jax.Array:
            window = take_rows(slots, block * rows, rows + 1)
            ends, sums = _split(window[:-1])
            next_ends, next_sums = _split(window[1:])
            new_end = jnp.broadcast_to(end[None], ends.shape)
            ends_after = lax.max(ends, lax.min(next_ends, new_end))
            sums_after = lax.select(ends <= new_end, next_sums + held[None], sums)
            return set_rows(slots, block * rows, jnp.stack([ends_after, sums_after], axis=1))

        return fori_loop(first, num_blocks, over_block, slots)

    def place(carry: _Carry) -> _Carry:
        step, first, now, slots, start = carry
        s, o = take_rows(prompt, step, 1)[0], take_rows(output, step, 1)[0]

        def probe(
            state: tuple[jax.Array, jax.Array, jax.Array],
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            _, candidate, _ = state
            bound = earliest_start(first, slots, candidate, s, o)
            return candidate, bound, any_of(bound > candidate)

        now, _, _ = while_loop(lambda state: state[2], probe, (now, now, jnp.bool_(True)))
        # End -1 precedes every slot, which makes the insertion of padding change nothing.
        end = lax.select(o > 0, now + o, jnp.full_like(o, -1))
        slots = insert(first, slots, end, s + o if admission == "peak" else s - now)
        start = set_rows(start, step, now[None])

        # One request at most was added: one block more at most, and one that ended may go.
        is_full = any_of(take_rows(slots, first * rows, 1)[0, END] > now)
        following = lax.min(first + 1, jnp.int32(num_blocks - 1))
        is_idle = ~any_of(take_rows(slots, following * rows, 1)[0, END] > now)
        first = lax.clamp(
            jnp.int32(0),
            first - is_full.astype(jnp.int32) + is_idle.astype(jnp.int32),
            jnp.int32(num_blocks - 1),
        )
        return _Carry(step + 1, first, now, slots, start)

    num_requests, num_instances = prompt.shape
    carry = _Carry(
        step=jnp.int32(0),
        first=jnp.int32(num_blocks - 1),
        now=jnp.zeros(num_instances, jnp.int32),
        slots=slots,
        start=start,
    )
    return while_loop(lambda carry: carry.step < num_requests, place, carry).start


def _split(block: jax.Array) -> tuple[jax.Array, jax.Array]:
    return block[:, END], block[:, _SUM]
