"""The state of the general kernel, between two steps."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsched.engine.online.by_rule.crowd import Crowd
from jaxsched.engine.online.in_order.rows import Rows, blocks_for, no_rows
from jaxsched.engine.online.lanes import take
from jaxsched.engine.online.queue import Waiting
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


class Kept(NamedTuple):
    """More records of requests, kept while they wait after an eviction, ``[(n + 1) B]``."""

    computed: jax.Array  # int32, tokens on the host
    is_filling: jax.Array  # int32, 0 or 1


class Step(NamedTuple):
    """The step being put together, ``[B]``; int32 unless it says otherwise."""

    is_open: jax.Array  # bool
    budget: jax.Array
    threshold: jax.Array  # most tokens of a chunk, 0: no such limit
    holds_prefills: jax.Array  # bool
    grants: jax.Array  # requests with tokens
    prefills: jax.Array  # bool, whether a prompt longer than a token was admitted
    swapped: jax.Array  # tokens
    evictions: jax.Array
    pushed: jax.Array  # those of them that made room for who waited
    lacks_blocks: jax.Array  # bool, a request went without because nobody is evicted


class State(NamedTuple):
    """Of B streams; int32 ``[B]`` unless it says otherwise."""

    is_live: jax.Array  # bool
    origin: jax.Array  # float64
    work: Work
    now: jax.Array  # float64
    free: jax.Array  # blocks
    count: jax.Array  # rows in use
    running: jax.Array  # rows taken
    rows: Rows
    victims: jax.Array  # [(rows + 1) B], those evicted in this step
    order: jax.Array  # [(n + 1) B], as in queue
    head: jax.Array
    arrived: jax.Array
    next_arrival: jax.Array  # float64
    next: Head
    waiting: Waiting | Crowd | None  # by rank, or by a dynamic rule
    # for prefill_schedule_interval
    executed: jax.Array
    last_prefill: jax.Array
    is_saturated: jax.Array  # bool
    step: Step
    records: Records
    kept: Kept
    totals: Totals

    @property
    def num_blocks(self) -> jax.Array:
        """Blocks of rows in use in any stream."""
        return blocks_for(self.count)

    @property
    def queued(self) -> jax.Array:
        """How many wait."""
        return self.arrived - self.head


def no_step(lanes: jax.Array) -> Step:
    """No step is open."""
    zero, no = jnp.zeros_like(lanes), jnp.zeros(lanes.shape, bool)
    return Step(no, zero, zero, no, zero, no, zero, zero, zero, no)


def initial(
    streams: Streams,
    order: jax.Array,
    waiting: Waiting | Crowd | None,
    limits: Limits,
    choices: Choices,
    num_buckets: int | None,
) -> State:
    """Nobody has arrived; arguments as for the quick kernel."""
    num_streams = limits.block_size.shape[0]
    zero = jnp.zeros(num_streams, jnp.int32)
    none = jnp.zeros(num_streams, jnp.float64)
    no = jnp.zeros(num_streams, bool)
    nobody = jnp.full_like(zero, streams.prompt.shape[0] // num_streams - 1)
    arrivals = waiting.arrivals if isinstance(waiting, Waiting) else order
    rows = no_rows(choices.slots, num_streams)
    ones = jnp.ones(streams.prompt.shape, jnp.int32)
    return State(
        is_live=no,
        origin=none,
        work=no_work(zero),
        now=none,
        free=limits.usable_blocks,
        count=zero,
        running=zero,
        rows=rows,
        victims=jnp.zeros_like(rows.request),
        order=order,
        head=zero,
        arrived=zero,
        next_arrival=take(streams.arrival, take(arrivals, zero)),
        next=Head(nobody, zero + 1, none + jnp.inf),
        waiting=waiting,
        executed=zero,
        last_prefill=-limits.prefill_interval,
        is_saturated=no,
        step=no_step(zero),
        records=no_records(streams.prompt),
        kept=Kept(0 * ones, ones),
        totals=no_totals(zero, no_counts(num_buckets, num_streams)),
    )
