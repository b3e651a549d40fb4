"""What the kernels are given, and what they hand back. Streams are the last axis: ``[B]``."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxsched.engine.online.by_rule.crowd import RuleKind
from jaxsched.engine.online.lanes import Writing, choose, num_rows
from jaxsched.engine.online.sums import Cost
from jaxsched.model.server import Admission, Policy, Preemption, Victim


class Choices(NamedTuple):
    """What is compiled in.

    Attributes:
      slots: no stream has a larger ``most_running``.
      policy: whether the queue is in order of arrival, or by rank.
      dynamic: the rule that orders the queue anew in every step, instead; or None.
      admission: what must fit before a request starts.
      preemption: what becomes of an evicted request.
      victim: who is evicted; "by_number" the largest of numbers given, one a request.
      prefill_first: whether steps that fill do not decode.
      is_plain: no long-prefill threshold and no prefill interval in any stream.
      can_skip: take many steps at once where they are alike; off only to test that.
      has_histogram: count the times between tokens.
    """

    slots: int
    policy: Policy = "fcfs"
    admission: Admission = "prompt"
    preemption: Preemption = "recompute"
    victim: Victim | Literal["by_number"] = "by_policy"
    prefill_first: bool = False
    is_plain: bool = True
    can_skip: bool = True
    has_histogram: bool = True
    dynamic: RuleKind | None = None


class Limits(NamedTuple):
    """Numbers of a server, int32 ``[B]`` unless it says otherwise."""

    usable_blocks: jax.Array
    block_size: jax.Array
    most_running: jax.Array
    token_budget: jax.Array
    watermark_blocks: jax.Array
    max_model_len: jax.Array
    is_chunked: jax.Array  # bool
    threshold: jax.Array  # 0: none
    is_adaptive: jax.Array  # bool
    prefill_interval: jax.Array
    max_steps: jax.Array  # int64
    cost: Cost


class Streams(NamedTuple):
    """Requests ``[(n + 1) B]`` by arrival; the last row is nobody, who never arrives."""

    arrival: jax.Array  # float64, seconds
    prompt: jax.Array  # int32
    final: jax.Array  # int32, tokens cached when it ends: prompt + output - 1
    predicted: jax.Array  # int32, prompt + predicted output
    tier: jax.Array  # int32, dense rank of (priority, arrival), larger is evicted first


class Records(NamedTuple):
    """What becomes of requests, ``[(n + 1) B]``; float64 seconds, NaN: has not happened."""

    first_scheduled: jax.Array
    first_token: jax.Array
    completion: jax.Array
    max_itl: jax.Array
    preemptions: jax.Array  # int32
    known: jax.Array  # int32, prompt and generated tokens when it was evicted
    last_token: jax.Array  # when it was evicted


class Totals(NamedTuple):
    """Of a whole run, ``[B]``."""

    steps: jax.Array  # int64
    busy: jax.Array  # float64, seconds in steps, up to the last idle time
    recomputed: jax.Array  # int64, computed tokens thrown away
    peak: jax.Array  # int32, most tokens cached at the end of a step
    token_seconds: jax.Array  # float64
    status: jax.Array  # int32, Status
    histogram: jax.Array | None  # int32 [buckets B], times between tokens


class Kernel(NamedTuple):
    """What does not change while a kernel runs."""

    streams: Streams
    limits: Limits
    choices: Choices
    writing: Writing
    edges: jax.Array  # float64 [buckets + 1], of the times between tokens
    one: jax.Array | None  # int32 [], 1, but no constant; see ``once``
    #: int32 [(n + 1) B], where restarts lose tokens: count times after so many restarts only.
    final_run: jax.Array | None = None

    @property
    def nobody(self) -> jax.Array:
        """The row of requests that stands for none."""
        return jnp.int32(num_rows(self.streams.prompt, self.limits.block_size) - 1)

    @property
    def is_ranked(self) -> bool:
        """Whether the queue is in order of rank."""
        return self.choices.policy == "priority"


class Head(NamedTuple):
    """The request that is next in line, ``[B]``."""

    request: jax.Array
    known: jax.Array
    arrival: jax.Array  # float64; infinite if there is none


def blocks_of(tokens: jax.Array, block_size: jax.Array) -> jax.Array:
    """``ceil(tokens / block_size)``; float64 is exact here and, unlike division, quick."""
    quotient = (tokens.astype(jnp.float64) - 0.5) * (1.0 / block_size.astype(jnp.float64))
    return choose(tokens > 0, quotient.astype(jnp.int32) + 1, 0)


def no_records(prompt: jax.Array) -> Records:
    """Before anything has happened to requests of these prompts."""
    nan = jnp.full(prompt.shape, jnp.nan, jnp.float64)
    zero = jnp.zeros(prompt.shape, jnp.int32)
    return Records(nan, nan, nan, jnp.zeros(prompt.shape, jnp.float64), zero, prompt, nan)


def no_totals(lanes: jax.Array, histogram: Any) -> Totals:
    """Before the first step; ``lanes`` is anything ``[B]``."""
    zero, long, none = (jnp.zeros_like(lanes, t) for t in (jnp.int32, jnp.int64, jnp.float64))
    return Totals(long, none, long, zero, none, zero, histogram)


def no_counts(num_buckets: int | None, num_streams: int) -> jax.Array | None:
    """Of an empty histogram; None for no histogram."""
    return None if num_buckets is None else jnp.zeros(num_buckets * num_streams, jnp.int32)
