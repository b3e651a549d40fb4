"""Random backlogs: pure functions of a key, drawn on the device.

Instance i of a batch is the same whatever the batch: a larger one only adds to a smaller.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched._lib.chunks import REQUESTS_PER_DRAW
from jaxsched.model.instance import Instance
from jaxsched.workloads import _checks
from jaxsched.workloads import _quantiles as q

Shape = tuple[int, ...]
Lengths = tuple[jax.Array, jax.Array]

_UNIFORM_MAX_REQUESTS = 60
_UNIFORM_MAX_OUTPUT = 49

_CHAT_MAX_OUTPUT = q.CHAT_OUTPUT[-1]
_CHAT_MAX_SIZE = q.CHAT_PROMPT[-1] + _CHAT_MAX_OUTPUT
_SUMMARIZATION_MAX_OUTPUT = max(row[-1] for row in q.SUMMARIZATION_OUTPUT_BY_FIFTH)
_SUMMARIZATION_MAX_SIZE = q.SUMMARIZATION_MAX_SIZE


def chat(
    key: jax.Array, num_requests: int, batch: int | None = None, kv_capacity: int = 16492
) -> Instance:
    """Short prompts and answers, as people chat with an assistant.

    Prompt (1 to 499 tokens, median 21) and output (1 to 599, median 124) are drawn
    independently, each by interpolating measured quantiles linearly and rounding.

    Args:
      key: a jax random key; equal keys give equal instances.
      num_requests: requests in each instance, n.
      batch: number of instances B, or None for a single one without a leading axis.
      kv_capacity: tokens the cache holds, at least 1098 here.

    Returns:
      An instance ``[n]`` or ``[B, n]``.

    Raises:
      ValueError: a count is below 1, ``kv_capacity`` is below the largest request this
        workload draws, or n is so large that the outputs might sum past int32.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.chat(jax.random.key(0), num_requests=1000, batch=4)
      >>> inst
      Instance(leading=(4,), n=1000, kv_capacity=16492)
      >>> 1 <= inst.output_tokens.min() and inst.output_tokens.max() <= 599
      Array(True, dtype=bool)

    Source: our quantiles of a public sample of Zheng et al., *LMSYS-Chat-1M*, 2023,
    arXiv:2309.11998, with prompts below 500 and answers below 600 tokens.
    """
    shape = _checks.shape(num_requests, batch, _CHAT_MAX_OUTPUT)
    capacity = _checks.capacity(kv_capacity, _CHAT_MAX_SIZE)
    return _instance(_each(_chat, key, shape), capacity)


def summarization(
    key: jax.Array, num_requests: int, batch: int | None = None, kv_capacity: int = 16492
) -> Instance:
    """Long prompts and, now and then, very long outputs, as in summarising articles.

    A fifth of the prompts is drawn, then the output from that fifth's quantiles, then the
    prompt from its fifth, redrawn until prompt and output together take at most 4096 tokens.
    Redrawing the prompt alone keeps the long outputs, which weigh most; redrawing the pair
    would lose a third of them. ``experiments/workload_fit.py`` states the fit.

    Args:
      key: a jax random key; equal keys give equal instances.
      num_requests: requests in each instance, n.
      batch: number of instances B, or None for a single one without a leading axis.
      kv_capacity: tokens the cache holds, at least 4096 here.

    Returns:
      An instance ``[n]`` or ``[B, n]``.

    Raises:
      ValueError: as for :func:`chat`.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.summarization(jax.random.key(0), num_requests=1000)
      >>> inst
      Instance(n=1000, kv_capacity=16492)
      >>> (inst.prompt_tokens + inst.output_tokens).max() <= 4096
      Array(True, dtype=bool)

    Source: our form of the arXiv summarisation lengths of Agrawal et al., *Vidur*, 2024,
    arXiv:2405.05465, from its quantiles.
    """
    shape = _checks.shape(num_requests, batch, _SUMMARIZATION_MAX_OUTPUT)
    capacity = _checks.capacity(kv_capacity, _SUMMARIZATION_MAX_SIZE)
    return _instance(_each(_summarization, key, shape), capacity)


def mixed(
    key: jax.Array,
    num_requests: int,
    batch: int | None = None,
    kv_capacity: int = 16492,
    *,
    exact_counts: bool = False,
) -> Instance:
    """Four chat requests to each summarisation request, in random order.

    Args:
      key: a jax random key; equal keys give equal instances.
      num_requests: requests in each instance, n.
      batch: number of instances B, or None for a single one without a leading axis.
      kv_capacity: tokens the cache holds, at least 4096 here; the default is that of
        Llama-2-70B on two A100.
      exact_counts: exactly ``floor(0.8 n)`` chat requests in every instance; otherwise each
        request is chat with probability 0.8.

    Returns:
      An instance ``[n]`` or ``[B, n]``.

    Raises:
      ValueError: as for :func:`chat`.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> js.workloads.mixed(jax.random.key(0), num_requests=200, batch=16)
      Instance(leading=(16,), n=200, kv_capacity=16492)

    Source: the capacity is that of Jaillet et al., *Online Scheduling for LLM Inference with
    KV Cache Constraints*, 2025, arXiv:2502.07115; the mix is ours.
    """
    shape = _checks.shape(num_requests, batch, _SUMMARIZATION_MAX_OUTPUT)
    capacity = _checks.capacity(kv_capacity, _SUMMARIZATION_MAX_SIZE)
    draw = _mixed_exactly if exact_counts else _mixed
    return _instance(_each(draw, key, shape), capacity)


def uniform(key: jax.Array, num_requests: int | None = None, batch: int | None = None) -> Instance:
    r"""Small instances with uniform lengths, for tests.

    .. math:: M \sim U\{30..50\},\ n \sim U\{40..60\},\ s_i \sim U\{1..5\},\
              o_i \sim U\{1..M - s_i\}

    :func:`jaxsched.bounds.exact` takes every instance of at most 12 requests, though a proof may
    need more than its time limit. Most instances of 40 to 60 requests are too large for it.
    :func:`benchmark` holds instances of 6 to 12 requests whose optima are proven.

    Args:
      key: a jax random key; equal keys give equal instances.
      num_requests: requests in each instance, n; None draws each instance's own, as above.
      batch: number of instances B, or None for a single one without a leading axis.

    Returns:
      An instance ``[n]`` or ``[B, n]``; with drawn n ``[60]`` or ``[B, 60]``, where rows from
      an instance's n on are padding.

    Raises:
      ValueError: a count is below 1, or n is so large that the outputs might sum past int32.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> inst = js.workloads.uniform(jax.random.key(0), batch=8)
      >>> inst.prompt_tokens.shape, bool((inst.num_requests >= 40).all())
      ((8, 60), True)
      >>> js.workloads.uniform(jax.random.key(0), num_requests=10).num_requests.item()
      10
    """
    if num_requests is None:
        shape = *_checks.leading(batch), _UNIFORM_MAX_REQUESTS
        return _each(_uniform, key, shape)
    return _each(_uniform_of_n, key, _checks.shape(num_requests, batch, _UNIFORM_MAX_OUTPUT))


@functools.partial(jax.jit, static_argnames=("draw", "shape"))
def _each(draw: Callable[[jax.Array, int], Any], key: jax.Array, shape: Shape) -> Any:
    """Draw one instance, or one from each of B keys, a block at a time to save memory."""
    *leading, n = shape
    if not leading:
        return draw(key, n)
    keys = jax.random.split(key, *leading)
    block = max(1, REQUESTS_PER_DRAW // n)
    return lax.map(lambda key: draw(key, n), keys, batch_size=block)


def _chat(key: jax.Array, n: int) -> Lengths:
    prompt_key, output_key = jax.random.split(key)
    prompt = q.at_every_percent(q.PERCENTS, q.CHAT_PROMPT)
    output = q.at_every_percent(q.PERCENTS, q.CHAT_OUTPUT)
    return (
        _interpolate(prompt, _uniform_percent(prompt_key, n)),
        _interpolate(output, _uniform_percent(output_key, n)),
    )


def _summarization(key: jax.Array, n: int) -> Lengths:
    fifth_key, output_key, prompt_key = jax.random.split(key, 3)
    fifth = jax.random.randint(fifth_key, (n,), 0, 5, jnp.int32)
    by_fifth = jnp.stack(
        [q.at_every_percent(q.OUTPUT_PERCENTS, row) for row in q.SUMMARIZATION_OUTPUT_BY_FIFTH]
    )
    output = _interpolate(by_fifth, _uniform_percent(output_key, n), fifth)

    # Redrawing until the prompt leaves room is a uniform draw among the levels that leave room.
    room = _SUMMARIZATION_MAX_SIZE - output
    percent_with_room = jnp.asarray(q.percent_up_to(q.PERCENTS, q.SUMMARIZATION_PROMPT))
    lowest = 20.0 * fifth.astype(jnp.float32)
    highest = jnp.minimum(lowest + 20.0, percent_with_room[room])
    percent = lowest + (highest - lowest) * jax.random.uniform(prompt_key, (n,), jnp.float32)
    prompt = _interpolate(q.at_every_percent(q.PERCENTS, q.SUMMARIZATION_PROMPT), percent)
    return jnp.minimum(prompt, room), output  # float32 may round a draw at the edge up


def _mixed(key: jax.Array, n: int) -> Lengths:
    kind_key, chat_key, summarization_key = jax.random.split(key, 3)
    is_chat = jax.random.uniform(kind_key, (n,), jnp.float32) < 0.8
    return _mix(is_chat, chat_key, summarization_key)


def _mixed_exactly(key: jax.Array, n: int) -> Lengths:
    kind_key, chat_key, summarization_key = jax.random.split(key, 3)
    is_chat = jax.random.permutation(kind_key, jnp.arange(n) < 4 * n // 5)
    return _mix(is_chat, chat_key, summarization_key)


def _mix(is_chat: jax.Array, chat_key: jax.Array, summarization_key: jax.Array) -> Lengths:
    n = is_chat.shape[-1]
    lengths = zip(_chat(chat_key, n), _summarization(summarization_key, n), strict=True)
    prompt, output = (jnp.where(is_chat, ours, theirs) for ours, theirs in lengths)
    return prompt, output


def _uniform(key: jax.Array, n: int) -> Instance:
    _, count_key, _, _ = jax.random.split(key, 4)
    return _uniform_lengths(key, n, jax.random.randint(count_key, (), 40, n + 1, jnp.int32))


def _uniform_of_n(key: jax.Array, n: int) -> Instance:
    return _uniform_lengths(key, n, jnp.int32(n))


def _uniform_lengths(key: jax.Array, n: int, count: jax.Array) -> Instance:
    capacity_key, _, prompt_key, output_key = jax.random.split(key, 4)
    capacity = jax.random.randint(capacity_key, (), 30, 51, jnp.int32)
    prompt = jax.random.randint(prompt_key, (n,), 1, 6, jnp.int32)
    output = jax.random.randint(output_key, (n,), 1, capacity - prompt + 1, jnp.int32)
    is_real = jnp.arange(n, dtype=jnp.int32) < count
    return Instance(
        prompt_tokens=jnp.where(is_real, prompt, 1),
        output_tokens=jnp.where(is_real, output, 1),
        is_real=is_real,
        kv_capacity=capacity,
    )


def _uniform_percent(key: jax.Array, n: int) -> jax.Array:
    return 100.0 * jax.random.uniform(key, (n,), jnp.float32)


def _interpolate(quantiles, percent: jax.Array, *row: jax.Array) -> jax.Array:
    """Tokens at ``percent``, given quantiles at 0, 1, .., 100 per cent along the last axis."""
    table = jnp.asarray(quantiles)
    below = jnp.minimum(percent.astype(jnp.int32), 99)
    low, high = table[(*row, below)], table[(*row, below + 1)]
    return jnp.round(low + (percent - below.astype(jnp.float32)) * (high - low)).astype(jnp.int32)


@jax.jit
def _instance(lengths: Lengths, kv_capacity: int) -> Instance:
    prompt, output = lengths
    return Instance(
        prompt_tokens=prompt,
        output_tokens=output,
        is_real=jnp.ones(prompt.shape, bool),
        kv_capacity=jnp.full(prompt.shape[:-1], kv_capacity, jnp.int32),
    )
