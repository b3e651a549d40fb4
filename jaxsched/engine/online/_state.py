"""What the kernel is given, carries and returns. Streams are the last axis, ``[n, B]``, ``[B]``."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxsched.engine.online._clock import Cost, Work, no_work
from jaxsched.engine.online._lanes import choose, take
from jaxsched.engine.online._seats import Seats, empty_seats

OK, STALLED, STEP_LIMIT = 0, 1, 2


class Choices(NamedTuple):
    """What is compiled in."""

    slots: int  # no stream has a larger ``max_num_seqs``
    policy: Literal["fcfs", "priority"] = "fcfs"
    admission: Literal["prompt", "chunk", "peak", "look_ahead"] = "prompt"
    can_skip: bool = True


class Limits(NamedTuple):
    """Numbers of a server, int32 ``[B]`` unless it says otherwise."""

    usable_blocks: jax.Array
    block_size: jax.Array
    most_running: jax.Array
    token_budget: jax.Array
    watermark_blocks: jax.Array
    max_model_len: jax.Array
    is_chunked: jax.Array  # bool
    max_steps: jax.Array  # int64
    cost: Cost


class Streams(NamedTuple):
    """Requests ``[(n + 1) B]`` by arrival; the last row is nobody, who never arrives."""

    arrival: jax.Array  # float64, seconds
    prompt: jax.Array  # int32
    final: jax.Array  # int32, tokens it has cached when it ends
    num_served: jax.Array  # int32 [B], requests that are not refused


class Records(NamedTuple):
    """What becomes of requests, ``[(n + 1) B]``; seconds float64, NaN for what has not happened."""

    known: jax.Array  # int32, prompt and generated tokens at the last eviction
    first_scheduled: jax.Array
    first_token: jax.Array
    last_token: jax.Array  # at the last eviction
    completion: jax.Array
    gap: jax.Array  # float32, longest time between two of its tokens
    preemptions: jax.Array  # int32


class Filling(NamedTuple):
    """The request whose prompt is computed in part, ``[B]``; ``known`` is 0 if there is none."""

    known: jax.Array
    computed: jax.Array
    first_scheduled: jax.Array  # float64
    filled: jax.Array  # float64, likewise of the one filled in the last step; NaN if there is none


class Head(NamedTuple):
    """The request that is next in line, ``[B]``."""

    request: jax.Array
    known: jax.Array
    arrival: jax.Array


class Step(NamedTuple):
    """The step being put together, ``[B]``."""

    is_open: jax.Array
    budget: jax.Array
    prefilled: jax.Array
    half_pairs: jax.Array  # int64
    has_evicted: jax.Array


class Totals(NamedTuple):
    """Of the whole run, ``[B]``."""

    steps: jax.Array  # int64
    busy: jax.Array  # float64, seconds up to the last idle time
    recomputed: jax.Array  # int64
    peak: jax.Array  # int32
    token_seconds: jax.Array  # float64
    status: jax.Array  # int32


class State(NamedTuple):
    """Between two iterations."""

    # time
    origin: jax.Array  # float64, when the server last stopped standing idle
    work: Work  # since then
    now: jax.Array  # float64, the clock
    before: jax.Array  # float64, the clock before the last step
    pause: jax.Array  # float32, the longest step since the last survey of the seats
    # memory and requests that decode
    tick: jax.Array  # int32, D: decode steps
    decoding: jax.Array  # int32, how many
    cached: jax.Array  # int32, tokens they have cached
    free: jax.Array  # int32, blocks
    asked: jax.Array  # int32, blocks asked for, not yet taken
    admitted: jax.Array  # int32, admissions ever
    seats: Seats
    seat_blocks: jax.Array  # int32 []
    # requests that fill stand in queue[seated : head]
    queue: jax.Array  # int32 [(n + 1) B]
    head: jax.Array  # int32
    seated: jax.Array  # int32
    next: Head
    filling: Filling
    step: Step
    records: Records
    totals: Totals
    is_live: jax.Array  # bool


def blocks_of(tokens: jax.Array, block_size: jax.Array) -> jax.Array:
    """``ceil(tokens / block_size)``; float64 is exact here and, unlike division, quick."""
    quotient = (tokens.astype(jnp.float64) - 0.5) * (1.0 / block_size.astype(jnp.float64))
    return choose(tokens > 0, quotient.astype(jnp.int32) + 1, 0)


def initial(streams: Streams, queue: jax.Array, limits: Limits, choices: Choices) -> State:
    """Nobody has arrived."""
    num_streams = limits.block_size.shape[0]
    zero = jnp.zeros(num_streams, jnp.int32)
    zero64 = jnp.zeros(num_streams, jnp.float64)
    long = jnp.zeros(num_streams, jnp.int64)
    no = jnp.zeros(num_streams, bool)
    nan = jnp.full(streams.arrival.shape, jnp.nan, jnp.float64)
    zeros = jnp.zeros(streams.arrival.shape, jnp.int32)
    first = queue[:num_streams]
    return State(
        origin=zero64,
        work=no_work(num_streams),
        now=zero64,
        before=zero64,
        pause=zero64.astype(jnp.float32),
        tick=zero,
        decoding=zero,
        cached=zero,
        free=limits.usable_blocks,
        asked=zero,
        admitted=zero,
        seats=empty_seats(choices.slots, num_streams),
        seat_blocks=jnp.int32(0),
        queue=queue,
        head=zero,
        seated=zero,
        next=Head(first, take(streams.prompt, first), take(streams.arrival, first)),
        filling=Filling(zero, zero, zero64, zero64 * jnp.nan),
        step=Step(no, zero, zero, long, no),
        records=Records(
            streams.prompt, nan, nan, nan, nan, zeros.astype(jnp.float32), zeros
        ),
        totals=Totals(long, zero64, long, zero, zero64, zero),
        is_live=no,
    )
