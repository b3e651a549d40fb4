"""The state of the quick kernel, in which all that decode do so together.

It serves streams without a long-prefill threshold and without a prefill interval. Then at most one
prompt is computed in part after a step, and it is the last of the running: it has taken all that
was left of the budget. Hence all that decode get their token in every step, and all that matters of
them are sums: how many they are, what they have cached, how many blocks they ask for.

One iteration, for every stream: one request that has ended leaves, one whose prompt is computed
takes a seat, and if that was all, a step begins; one request is admitted, and if that was all, the
step ends. Streams are at different times, and none waits for another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsched.engine.online.lanes import num_rows, take
from jaxsched.engine.online.queue import Waiting
from jaxsched.engine.online.seats import Seats, empty_seats
from jaxsched.engine.online.state import (
    Choices,
    Head,
    Limits,
    Records,
    Streams,
    Totals,
    no_counts,
    no_records,
    no_totals,
)
from jaxsched.engine.online.sums import Work, no_work


class Filling(NamedTuple):
    """The request whose prompt is computed in part, ``[B]``; ``known`` is 0 if there is none."""

    request: jax.Array
    known: jax.Array
    computed: jax.Array


class Step(NamedTuple):
    """The step being put together, ``[B]``."""

    is_open: jax.Array
    budget: jax.Array
    chunk: jax.Array  # of the one that was filling, -1 while that is not settled
    prefilled: jax.Array
    half_pairs: jax.Array  # float64
    has_evicted: jax.Array


class State(NamedTuple):
    """Of B streams, between two iterations; int32 ``[B]`` unless it says otherwise."""

    is_live: jax.Array  # bool
    # time
    origin: jax.Array  # float64, when the server last stopped standing idle
    work: Work  # since then
    now: jax.Array  # float64, the clock
    pause: jax.Array  # float64, the longest step since the last survey of the seats
    # memory, and the requests that decode
    tick: jax.Array  # decode steps, D
    decoding: jax.Array  # how many do
    cached: jax.Array  # tokens they have cached
    free: jax.Array  # blocks
    asked: jax.Array  # blocks asked for, not yet taken
    admitted: jax.Array  # admissions ever
    seats: Seats
    seat_blocks: jax.Array  # [], blocks of rows in use
    # the queue; those that fill are order[seated : head]
    order: jax.Array  # [(n + 1) B]
    head: jax.Array
    seated: jax.Array
    next: Head
    waiting: Waiting | None
    filling: Filling
    filled: jax.Array  # tokens cached by those that fill
    step: Step
    records: Records
    totals: Totals


def initial(
    streams: Streams,
    order: jax.Array,
    waiting: Waiting | None,
    limits: Limits,
    choices: Choices,
    num_buckets: int | None,
) -> State:
    """Nobody has arrived.

    Args:
      streams: the requests.
      order: int32 ``[(n + 1) B]``, those not refused by arrival, then nobody.
      waiting: for queues by rank.
      limits: of the servers.
      choices: what is compiled in.
      num_buckets: of the histogram of times between tokens; None for no histogram.
    """
    num_streams = limits.block_size.shape[0]
    seats = empty_seats(choices.slots, num_streams)
    counts = no_counts(num_buckets, num_streams)
    return begun(streams, order, waiting, limits, seats, no_records(streams.prompt), counts)


def begun(
    streams: Streams,
    order: Any,
    waiting: Waiting | None,
    limits: Limits,
    seats: Seats,
    records: Records,
    histogram: Any,
) -> State:
    """:func:`initial`, given where to keep seats, records and counts."""
    zero = jnp.zeros_like(limits.block_size)
    none = jnp.zeros_like(zero, jnp.float64)
    no = jnp.zeros_like(zero, bool)
    nobody = jnp.full_like(zero, num_rows(streams.prompt, zero) - 1)
    first = take(order, zero) if waiting is None else nobody
    return State(
        is_live=no,
        origin=none,
        work=no_work(zero),
        now=none,
        pause=none,
        tick=zero,
        decoding=zero,
        cached=zero,
        free=limits.usable_blocks,
        asked=zero,
        admitted=zero,
        seats=seats,
        seat_blocks=jnp.int32(0),
        order=order,
        head=zero,
        seated=zero,
        next=Head(first, take(streams.prompt, first), take(streams.arrival, first)),
        waiting=waiting,
        filling=Filling(nobody, zero, zero),
        filled=zero,
        step=Step(no, zero, zero, zero, none, no),
        records=records,
        totals=no_totals(zero, histogram),
    )
