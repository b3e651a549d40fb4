"""Requests on a server: numbers broadcast, streams spread over cores, outcomes put together."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxsched._lib.arrays import is_resident, is_traced
from jaxsched._lib.chunks import map_device_chunks
from jaxsched._lib.devices import Device, MappedProgram, local_devices, num_cores
from jaxsched._lib.errors import InputError
from jaxsched._lib.resident import on_devices
from jaxsched.engine.contract import DynamicRule
from jaxsched.engine.online.arrivals import Arrivals, Watched
from jaxsched.engine.online.by_rule.crowd import RuleKind
from jaxsched.engine.online.program import KERNEL_WIDTH, Served, by_stream, serve_streams
from jaxsched.engine.online.record import record_stream
from jaxsched.engine.online.state import Choices, Limits
from jaxsched.engine.online.sums import Cost
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import whole_predictions
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.server import Policy, Server, require_numbers

_FEWEST_SLOTS = 256  # servers with fewer seats share what is compiled
_MOST_GROUPS = 4  # of streams in a call on a CPU, so that cores can take turns
_STEP_CLOCK = LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0)
_SECOND = 1e-3  # in milliseconds


def serve_on(
    server: Server,
    reqs: Requests,
    priority: Any = None,
    max_steps: int | None = None,
    victim_number: Any = None,
    dynamic: DynamicRule | None = None,
) -> Outcome:
    """Serve streams ``[.., n]`` on servers ``[..]``, each by itself.

    Args:
      server: numbers whose leading axes broadcast against those of the requests.
      reqs: the requests.
      priority: ``[.., n]``, lower first, which makes it vLLM's priority policy; None for its
        first come, first served.
      max_steps: a stream ends after so many steps, with the status ``STEP_LIMIT``; None for
        twice its tokens.
      victim_number: ``[.., n]``, larger is evicted first; None for the server's ``victim``.
      dynamic: orders the queue anew in every step, instead of priorities.

    Returns:
      The outcome in seconds, with the leading axes of both.
    """
    with jax.enable_x64(True):
        arrivals, limits, choices = given_to_kernel(
            server, reqs, priority, max_steps, victim_number, dynamic
        )
        if is_traced(arrivals, limits):
            served = serve_streams(*lax.stop_gradient((arrivals, limits)), choices)
        elif is_resident(arrivals):
            shape = limits.block_size.shape, reqs.is_real.shape[-1]
            until = np.full(limits.block_size.shape, np.inf)
            served = on_devices(by_stream(choices), *shape, arrivals, limits, until)
        else:
            served = _on_cpu(arrivals, limits, choices)
        return _outcome(reqs, served)


def record_on(
    server: Server,
    reqs: Requests,
    priority: Any = None,
    max_steps: int | None = None,
    victim_number: Any = None,
    dynamic: DynamicRule | None = None,
) -> dict[str, np.ndarray]:
    """Write down every decision of :func:`serve_on`, for one stream on one server.

    Returns:
      The columns of :func:`~jaxsched.engine.online.record.record_stream`.

    Raises:
      ValueError: there are several streams, or they are traced.
    """
    with jax.enable_x64(True):
        arrivals, limits, choices = given_to_kernel(
            server, reqs, priority, max_steps, victim_number, dynamic
        )
        if is_traced(arrivals) or limits.block_size.shape:
            raise InputError(
                "record",
                True,
                "record one stream of numbers on one server, outside jit",
                finding=f"is True with the leading axes {limits.block_size.shape}",
            )
        one, server_of_one = jax.tree.map(lambda leaf: leaf[None], (arrivals, limits))
        return record_stream(one, server_of_one, choices)


def given_to_kernel(
    server: Server,
    reqs: Requests,
    priority: Any,
    max_steps: int | None,
    victim_number: Any = None,
    dynamic: DynamicRule | None = None,
) -> tuple[Arrivals, Limits, Choices]:
    """Make what the kernel is given, with the leading axes of both; numpy's for a CPU."""
    require_numbers(server)
    n = reqs.is_real.shape[-1]
    arrivals = _arrivals(server, reqs, priority, victim_number)
    limits = _limits(server, reqs, max_steps)
    leading = np.broadcast_shapes(
        reqs.is_real.shape[:-1], *(np.shape(leaf) for leaf in jax.tree.leaves(limits))
    )
    choices = _choices(server, "fcfs" if priority is None else "priority", n)
    if victim_number is not None:
        choices = choices._replace(victim="by_number")
    watched = None
    if dynamic is not None:
        leaves, structure = jax.tree.flatten(dynamic)
        kind = RuleKind(structure, dynamic.evicts, dynamic.has_state)
        choices = choices._replace(dynamic=kind)
        watched = _watched(server, reqs, leaves)
    array = jnp if is_traced(arrivals, limits, watched) or is_resident(reqs) else np
    limits = jax.tree.map(lambda leaf: array.broadcast_to(leaf, leading), limits)
    most_running = array.minimum(limits.most_running, array.int32(choices.slots))
    arrivals = jax.tree.map(lambda leaf: array.broadcast_to(leaf, (*leading, n)), arrivals)
    if watched is not None:
        arrivals = arrivals._replace(watched=_spread(watched, leading, n, array))
    return arrivals, limits._replace(most_running=most_running), choices


def _watched(server: Server, reqs: Requests, leaves: list[Any]) -> Watched:
    """Hand over what a dynamic rule sees, and its numbers, in 32 bits, not yet broadcast."""
    with jax.enable_x64(False):
        return Watched(
            output_tokens=predicted_tokens(reqs),
            priority=_or_all(reqs.priority, 0.0),
            client=numbered_clients(reqs),
            ttft_slo_s=_or_all(reqs.ttft_slo_s, jnp.inf),
            tpot_slo_s=_or_all(reqs.tpot_slo_s, jnp.inf),
            kv_capacity=jnp.asarray(server.kv_capacity, jnp.int32),
            leaves=tuple(jnp.asarray(leaf) for leaf in leaves),
        )


def numbered_clients(reqs: Requests) -> jax.Array:
    """Count clients from 0 in order of their ids, int32 ``[.., n]``; without any, it is one."""
    if reqs.client is None:
        return jnp.zeros(reqs.is_real.shape, jnp.int32)
    client = jnp.asarray(reqs.client, jnp.int32)
    order = jnp.argsort(client, axis=-1)
    ascending = jnp.take_along_axis(client, order, axis=-1)
    is_next = jnp.diff(ascending, axis=-1, prepend=ascending[..., :1]) != 0
    number = jnp.cumsum(is_next, axis=-1, dtype=jnp.int32)
    return jnp.take_along_axis(number, jnp.argsort(order, axis=-1), axis=-1)


def _or_all(values: Any, otherwise: float) -> jax.Array:
    return jnp.asarray(otherwise if values is None else values).astype(jnp.float32)


def _spread(watched: Watched, leading: tuple[int, ...], n: int, array: Any) -> Watched:
    whole = {
        name: array.broadcast_to(values, (*leading, n))
        for name, values in watched._asdict().items()
        if name not in ("kv_capacity", "leaves")
    }
    return Watched(
        **whole,
        kv_capacity=array.broadcast_to(watched.kv_capacity, leading),
        leaves=tuple(array.broadcast_to(leaf, (*leading, *leaf.shape)) for leaf in watched.leaves),
    )


def _limits(server: Server, reqs: Requests, max_steps: int | None) -> Limits:
    """Numbers of the server as the kernel takes them, not yet broadcast."""
    clock = _STEP_CLOCK if server.clock is None else server.clock
    blocks = _number(server.kv_capacity, np.int32) // _number(server.block_size, np.int32)
    if max_steps is None:
        tokens = _number(reqs.prompt_tokens, np.int64) + _number(reqs.output_tokens, np.int64)
        max_steps = 2 * tokens.sum(axis=-1) + 1000
    # vLLM takes the share of all its blocks, the one that is never usable included.
    watermark = _number(server.watermark, np.float64) * (blocks + 1)
    return Limits(
        usable_blocks=blocks,
        block_size=_number(server.block_size, np.int32),
        most_running=_number(server.max_num_seqs, np.int32),
        token_budget=_number(server.max_num_batched_tokens, np.int32),
        watermark_blocks=_number(watermark, np.int32),
        max_model_len=_number(server.max_model_len, np.int32),
        is_chunked=_number(server.enable_chunked_prefill, np.bool_),
        threshold=_number(server.long_prefill_token_threshold, np.int32),
        is_adaptive=_number(server.long_prefill_token_threshold_adaptive, np.bool_),
        prefill_interval=_number(server.prefill_schedule_interval, np.int32),
        max_steps=_number(max_steps, np.int64),
        cost=Cost(
            a=_number(clock.iteration_ms, np.float64) * _SECOND,
            b=_number(clock.prefill_ms_per_token, np.float64) * _SECOND,
            c=_number(clock.decode_ms_per_request, np.float64) * _SECOND,
            d=_number(clock.kv_ms_per_token, np.float64) * _SECOND,
            # The kernel adds up pairs of tokens, the clock their squares: twice as many.
            e=_number(clock.attention_ms_per_squared_token, np.float64) * (2 * _SECOND),
            swap=_number(server.swap_s_per_token, np.float64),
        ),
    )


def _arrivals(server: Server, reqs: Requests, priority: Any, victim_number: Any) -> Arrivals:
    """Hand over requests as the kernel takes them, not yet broadcast; padding never arrives."""
    if priority is None and server.victim == "worst_priority":
        priority = reqs.priority  # which the queue does not read, but evictions do
    return Arrivals(
        arrival=reqs.arrival_s,
        prompt=reqs.prompt_tokens,
        output=reqs.output_tokens,
        predicted=predicted_tokens(reqs),
        priority=reqs.prompt_tokens if priority is None else priority,
        victim_number=victim_number,
    )


def predicted_tokens(reqs: Requests) -> Any:
    """Predicted outputs ``[.., n]`` as tokens: rounded up, at least one, at most 2^30; or true."""
    predicted = reqs.predicted_output_tokens
    return reqs.output_tokens if predicted is None else whole_predictions(predicted)


def _number(value: Any, dtype: Any) -> Any:
    return value.astype(dtype) if isinstance(value, Tracer) else np.asarray(value).astype(dtype)


def _choices(server: Server, policy: Policy, n: int) -> Choices:
    """Say what is compiled in. A traced number may turn out to be any."""

    def most(numbers: Any, if_traced: int) -> int:
        return if_traced if isinstance(numbers, Tracer) else int(np.max(numbers))

    seats = _power_of_two(max(_FEWEST_SLOTS, min(n, most(server.max_num_seqs, n))))
    return Choices(
        slots=seats,
        policy=policy,
        admission=server.admission,
        preemption=server.preemption,
        victim=server.victim,
        prefill_first=server.prefill_first,
        is_plain=most(server.long_prefill_token_threshold, 1) == 0
        and most(server.prefill_schedule_interval, 2) == 1,
    )


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _on_cpu(arrivals: Arrivals, limits: Limits, choices: Choices) -> Served:
    devices, leading = local_devices(), limits.block_size.shape
    share = -(-math.prod(leading) // num_cores())
    chunk_size = min(_power_of_two(share), _MOST_GROUPS * KERNEL_WIDTH)
    program = MappedProgram(serve_streams, num_mapped=2, static=(("choices", choices),))

    def run(devices: tuple[Device, ...], arrivals: Arrivals, limits: Limits) -> Served:
        return program(devices, arrivals, limits)

    return map_device_chunks(
        run, arrivals, limits, leading=leading, chunk_size=chunk_size, devices=devices
    )


def _outcome(reqs: Requests, served: Served) -> Outcome:
    """Put results together: jax arrays, or a CPU's as numpy's, which need no 64-bit mode."""
    shape = served.completion.shape
    array = jnp if isinstance(served.completion, jax.Array) else np
    return Outcome(
        arrival=array.broadcast_to(reqs.arrival_s, shape),
        first_scheduled=served.first_scheduled,
        first_token=served.first_token,
        completion=served.completion,
        num_preemptions=served.num_preemptions,
        status=served.status,
        is_real=array.broadcast_to(reqs.is_real, shape),
        max_itl=served.max_itl,
        itl_histogram=served.itl_histogram,
        num_steps=served.num_steps,
        recomputed_tokens=served.recomputed_tokens,
        busy=served.busy,
        peak_kv_tokens=served.peak_kv_tokens,
        kv_token_time=served.kv_token_time,
        time_unit="s",
    )
