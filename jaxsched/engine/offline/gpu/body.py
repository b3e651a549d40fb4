r"""The body of strict order: a program places the requests of one instance, exact to the round.

It is the arithmetic of :mod:`jaxsched.engine.offline.strict` with slots in no order. Slot
:math:`k` holds a running request's end :math:`e_k`, the number :math:`n_k` of placed requests that
end no earlier, and the sum :math:`S_k` of their offsets :math:`b_j = s_j - p_j`. So those hold
:math:`S_k + n_k t` tokens together in round :math:`t \le e_k`: the suffix form, in which a slot
knows its suffix instead of standing in front of it. Under peak admission :math:`S_k` sums
:math:`s_j + o_j`.

* A probe of :math:`p` is one maximum over the slots: of the bounds :math:`r_k` that :math:`p`
  violates. Sorted slots would give no less and would have to be moved.
* A newcomer that ends at :math:`e` needs :math:`n` and :math:`S` of those that end no earlier: of
  the running slots with :math:`e_k \ge e`, the earliest. It has the most of both the requests and
  the tokens in round :math:`e`, so two maxima give them.
* Every slot with :math:`e_k \le e` then counts the newcomer: :math:`n_k + 1`, :math:`S_k + b`.
* The newcomer takes the lowest slot whose request has ended: one minimum. If there is none, more
  requests run at once than there are slots. That is **overflow**: what follows is wrong, the
  program says so, and the instance must be scheduled in another form.

Ended slots need no masks, as in ``strict``: :math:`r_k \le e_k \le p` moves nothing, and what
their sums do in int32 does no harm.

The slots form equal blocks. Newcomers take the lowest slot, so high blocks drain; the latest end
in each block tells whether a branch may skip it. The first block is always looked at.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsched.engine.contract import Admission
from jaxsched.engine.offline.gpu.refs import Limits, Refs, SlotRefs
from jaxsched.engine.offline.slots import Block


@dataclasses.dataclass(frozen=True)
class Form:
    """What is compiled in.

    Attributes:
      num_requests: of an instance, padding included.
      num_slots: of running requests, a power of two; under earliest fit, of segments.
      num_blocks: the slots are shared out evenly, a power of two in each.
      admission: what a request counts as holding, see :func:`jaxsched.simulate`.
    """

    num_requests: int
    num_slots: int
    num_blocks: int
    admission: Admission

    @property
    def block_size(self) -> int:
        """Slots in a block."""
        return self.num_slots // self.num_blocks


class Request(NamedTuple):
    """Tokens of the request to be placed."""

    prompt: jax.Array  # []
    output: jax.Array  # []


class _Carry(NamedTuple):
    now: jax.Array  # [] start of the last request placed
    overflow: jax.Array  # []
    following: Request  # loaded a step ahead, so that no step waits for memory
    blocks: tuple[Block, ...]
    latest: tuple[jax.Array, ...]  # [] the latest end in each block


class _Running(NamedTuple):
    """Of the requests that run in the newcomer's last round, and where it may go."""

    used: jax.Array  # [] tokens they hold then; under peak admission, the sum of their peaks
    number: jax.Array  # []
    slot: jax.Array  # [] the lowest that is free at the newcomer's start, or all slots


def place_requests(form: Form, refs: SlotRefs) -> None:
    """Place every request of one instance, in int32 throughout."""
    place = functools.partial(_place, form, refs, refs.limits())
    vector = jnp.zeros(form.block_size, jnp.int32)
    zero = jnp.int32(0)
    carry = _Carry(
        now=zero,
        overflow=zero,
        following=Request(*refs.request(zero)),
        blocks=(Block(vector, vector, vector),) * form.num_blocks,
        latest=(zero,) * form.num_blocks,
    )
    steps = np.int32(0), np.int32(form.num_requests)
    refs.set_overflow(lax.fori_loop(*steps, place, carry).overflow)


def _place(form: Form, refs: Refs, limits: Limits, step: jax.Array, carry: _Carry) -> _Carry:
    request = carry.following
    following = Request(*refs.request(jnp.minimum(step + 1, form.num_requests - 1)))
    p = _earliest_start(form, limits, carry, request)
    refs.set_start(step, p)

    end = p + request.output
    running = _running(form, carry, p, end)
    is_real = request.output > 0
    if form.admission == "peak":
        own, others = request.prompt + request.output, running.used
    else:
        own, others = request.prompt - p, running.used - running.number * end
    newcomer = Block(end, others + own, running.number + 1)
    slot = jnp.where(is_real, running.slot, form.num_slots)
    last = jnp.where(is_real, end, -1)  # padding ends before every slot and changes none

    blocks, latest = [], []
    for index, (block, top) in enumerate(zip(carry.blocks, carry.latest, strict=True)):
        here = slot - index * form.block_size
        is_here = (here >= 0) & (here < form.block_size)
        insert = functools.partial(_inserted, newcomer=newcomer, own=own, last=last, here=here)
        blocks.append(_where_used(index, (top > p) | is_here, insert, block))
        latest.append(jnp.where(is_here, jnp.maximum(top, end), top))
    is_over = is_real & (running.slot >= form.num_slots)
    overflow = jnp.where(is_over, 1, carry.overflow)
    return _Carry(p, overflow, following, tuple(blocks), tuple(latest))


def _earliest_start(form: Form, limits: Limits, carry: _Carry, request: Request) -> jax.Array:
    """Jump from bound to bound until a start violates none, []."""

    def probe(search: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, p = search
        bound = p
        for index, (block, top) in enumerate(zip(carry.blocks, carry.latest, strict=True)):

            def raised(bound: jax.Array, block: Block = block) -> jax.Array:
                return jnp.maximum(bound, jnp.max(violated(form, limits, block, request, p)))

            bound = _where_used(index, top > p, raised, bound)
        return p, bound

    none = jnp.int32(-1)
    return lax.while_loop(lambda search: search[1] > search[0], probe, (none, carry.now))[1]


def violated(form: Form, limits: Limits, block: Block, request: Request, p: jax.Array) -> jax.Array:
    """Return the bounds r_k of a block that a start at ``p`` violates, [size]; else -1."""
    room = limits.kv_capacity - request.prompt
    if form.admission == "peak":
        is_over = block.held > room - request.output
        lower = block.end
    else:
        until = jnp.minimum(block.end, p + request.output)
        # The sum on the right may wrap, and the difference then wraps back.
        is_over = block.held + block.count * until > (room + p) - until
        lower = block.end + jnp.minimum(block.held + block.count * block.end - room, 0)
    bounds = jnp.where(is_over, lower, -1)
    if limits.max_num_seqs is None:
        return bounds
    return jnp.where(block.count >= limits.max_num_seqs, block.end, bounds)


def _running(form: Form, carry: _Carry, p: jax.Array, end: jax.Array) -> _Running:
    """Look at all blocks for the newcomer."""
    zero = jnp.int32(0)
    found = _Running(zero, zero, jnp.int32(form.num_slots))
    for index, (block, top) in enumerate(zip(carry.blocks, carry.latest, strict=True)):
        first = index * form.block_size

        def look(found: _Running, block: Block = block, first: int = first) -> _Running:
            runs = block.end >= end
            used = block.held if form.admission == "peak" else block.held + block.count * end
            slot = lax.broadcasted_iota(jnp.int32, block.end.shape, 0) + first
            free = jnp.where(block.end <= p, slot, form.num_slots)
            return _Running(
                jnp.maximum(found.used, jnp.max(jnp.where(runs, used, 0))),
                jnp.maximum(found.number, jnp.max(jnp.where(runs, block.count, 0))),
                jnp.minimum(found.slot, jnp.min(free)),
            )

        # Every slot of a drained block is free.
        found = found._replace(slot=jnp.where(top > p, found.slot, jnp.minimum(found.slot, first)))
        found = _where_used(index, top > p, look, found)
    return found


def _inserted(
    block: Block, newcomer: Block, own: jax.Array, last: jax.Array, here: jax.Array
) -> Block:
    """Count the newcomer in a block, and put it at the slot ``here`` if that is in it."""
    is_suffix = block.end <= last
    counted = Block(
        block.end,
        jnp.where(is_suffix, block.held + own, block.held),
        jnp.where(is_suffix, block.count + 1, block.count),
    )
    is_own = lax.broadcasted_iota(jnp.int32, block.end.shape, 0) == here
    return Block(*(jnp.where(is_own, new, old) for new, old in zip(newcomer, counted, strict=True)))


def _where_used(index: int, is_used: jax.Array, function: Callable[[Any], Any], value: Any) -> Any:
    """Apply ``function`` to ``value`` where a block is used, which the first always is."""
    if index == 0:
        return function(value)
    return lax.cond(is_used, function, lambda value: value, value)
