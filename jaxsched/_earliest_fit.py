r"""Earliest-fit list scheduling: each request at the first round at which it fits, exact.

Requests are taken in order, but each may start before those already placed, as long as it fits
among them and moves none: serial schedule generation, as project scheduling knows it.

The placed requests are sorted by their ends :math:`e_k`, each with the tokens :math:`U_k` that
all hold together in round :math:`e_k`. Between two ends use only rises, so a candidate
:math:`(s, o)` started at :math:`p` need be checked at the ends in its rounds, where it adds
:math:`s + e_k - p`, and at its own last round :math:`w = p + o`:

.. math:: U_k + s + e_k - p \le M \quad (p < e_k \le w), \qquad
          s + o + \sum_{p_j < w \le e_j} (s_j + w - p_j) \le M.

Where the first fails no start before :math:`r_k = e_k - \max(0, M - s - U_k)` will do. Where the
second fails it fails until the last round has passed the next end :math:`e_k \ge w`, since the
others hold more and more until then; there the first holds the start back to the same
:math:`r_k`. So :math:`p` jumps from 0 to the largest bound until none is violated.

The discipline on this problem and the jumps are ours.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._slots import END, any_of, set_rows, take_rows
from jaxsched._strict import Admission

FIELDS = 5
_START, _HELD, _TOKENS, _COUNT = 1, 2, 3, 4  # held by itself; by all, and how many, at its end


class _Probe(NamedTuple):
    """What a candidate start meets, by row of a block ``[rows, B]`` until :func:`_over_rows`."""

    bound: jax.Array  # the largest r_k of the ends that it violates
    next_end: jax.Array  # the first end not before its last round
    next_bound: jax.Array  # r_k of that end
    tokens: jax.Array  # held by the others in its last round
    count: jax.Array  # others active then


class _Carry(NamedTuple):
    step: jax.Array  # [] requests placed
    slots: jax.Array  # [K + 1, FIELDS, B]
    start: jax.Array  # [n, B]


def start_rounds(
    prompt: jax.Array,
    output: jax.Array,
    kv_capacity: jax.Array,
    max_num_seqs: jax.Array | None,
    slots: jax.Array,
    start: jax.Array,
    *,
    admission: Admission,
    rows: int,
) -> jax.Array:
    """Start rounds int32 ``[n, B]``; arguments as for the strict order's ``start_rounds``."""
    num_slots = slots.shape[0] - 1
    num_blocks = num_slots // rows
    is_peak = admission == "peak"

    def added(ends: jax.Array, now: jax.Array, s: jax.Array, o: jax.Array) -> jax.Array:
        """Tokens that a candidate holds in the rounds ``ends``."""
        return jnp.broadcast_to((s + o)[None], ends.shape) if is_peak else (s - now)[None] + ends

    def is_full(count: jax.Array) -> jax.Array:
        if max_num_seqs is None:
            return jnp.zeros(count.shape, bool)
        return count >= jnp.broadcast_to(max_num_seqs, count.shape)

    def probe(
        first: jax.Array, slots: jax.Array, now: jax.Array, s: jax.Array, o: jax.Array
    ) -> _Probe:
        """Check the start ``now`` [B] against every slot."""
        last, room = (now + o)[None], (kv_capacity - s)[None]

        def lower_bound(block: jax.Array) -> jax.Array:
            ends = block[:, END]
            return ends if is_peak else ends + jnp.minimum(block[:, _TOKENS] - room, 0)

        def over_block(block: jax.Array, found: _Probe) -> _Probe:
            window = take_rows(slots, block * rows, rows + 1)
            here, following = window[:-1], window[1:]
            ends = here[:, END]

            is_met = (ends > now[None]) & (ends <= last)
            is_over = here[:, _TOKENS] > kv_capacity[None] - added(ends, now, s, o)
            bound = lax.max(found.bound, _where(is_met & is_over, lower_bound(here)))
            bound = lax.max(bound, _where(is_met & is_full(here[:, _COUNT]), ends))

            is_next = (ends < last) & (following[:, END] >= last)
            is_active = (here[:, _START] < last) & (ends >= last)
            held = here[:, _HELD] if is_peak else here[:, _HELD] + last
            return _Probe(
                bound=bound,
                next_end=found.next_end + _where(is_next, following[:, END]),
                next_bound=lax.max(found.next_bound, _where(is_next, lower_bound(following))),
                tokens=found.tokens + _where(is_active, held),
                count=found.count + is_active.astype(jnp.int32),
            )

        none = jnp.zeros((rows, now.shape[0]), jnp.int32)
        found = lax.fori_loop(first, num_blocks, over_block, _Probe(*(none,) * 5))
        return jax.tree.map(lambda field: jnp.max(field, axis=0), found)._replace(
            tokens=jnp.sum(found.tokens, axis=0, dtype=jnp.int32),
            count=jnp.sum(found.count, axis=0, dtype=jnp.int32),
        )

    def insert(
        first: jax.Array, slots: jax.Array, newcomer: jax.Array, now: jax.Array, s: jax.Array
    ) -> jax.Array:
        """Slots with ``newcomer`` [FIELDS, B] in its place, counted at the ends in its rounds."""
        last = newcomer[END][None]

        def over_block(block: jax.Array, slots: jax.Array) -> jax.Array:
            window = take_rows(slots, block * rows, rows + 1)
            ends = window[:, END]
            is_met = (ends > now[None]) & (ends <= last)
            own = added(ends, now, s, newcomer[END] - now)
            fields = list(jnp.moveaxis(window, 1, 0))
            fields[_TOKENS] += _where(is_met, own)
            fields[_COUNT] += is_met.astype(jnp.int32)
            is_before, is_shifted = ends[:-1] <= last, ends[1:] <= last
            placed = [
                lax.select(
                    is_shifted,
                    field[1:],
                    lax.select(is_before, jnp.broadcast_to(new[None], is_before.shape), field[:-1]),
                )
                for field, new in zip(fields, newcomer, strict=True)
            ]
            return set_rows(slots, block * rows, jnp.stack(placed, axis=1))

        return lax.fori_loop(first, num_blocks, over_block, slots)

    def place(carry: _Carry) -> _Carry:
        step, slots, start = carry
        s, o = take_rows(prompt, step, 1)[0], take_rows(output, step, 1)[0]
        first = (num_slots - 1 - step) // rows  # the block of the last empty slot

        def attempt(state: tuple) -> tuple:
            _, now, _, _, _ = state
            found = probe(first, slots, now, s, o)
            is_over = found.tokens > kv_capacity - s - o
            bound = lax.max(now, found.bound)
            bound = lax.max(bound, _where(is_over, found.next_bound))
            bound = lax.max(bound, _where(is_full(found.count), found.next_end))
            return now, bound, found.tokens, found.count, any_of(bound > now)

        zero = jnp.zeros_like(s)
        state = zero, zero, zero, zero, jnp.bool_(True)
        now, _, tokens, count, _ = lax.while_loop(lambda state: state[-1], attempt, state)
        # End -1 precedes every slot, which makes the insertion of padding change nothing.
        end = lax.select(o > 0, now + o, jnp.full_like(o, -1))
        held = s + o if is_peak else s - now
        newcomer = jnp.stack([end, now, held, tokens + s + o, count + 1])
        slots = insert(first, slots, newcomer, now, s)
        return _Carry(step + 1, slots, set_rows(start, step, now[None]))

    num_requests = prompt.shape[0]
    carry = _Carry(jnp.int32(0), slots, start)
    return lax.while_loop(lambda carry: carry.step < num_requests, place, carry).start


def _where(condition: jax.Array, value: jax.Array) -> jax.Array:
    """``value`` where the condition holds, 0 elsewhere; as a lax operation."""
    return lax.select(condition, value, jnp.zeros_like(value))
