"""The rates of arrivals that a server cannot keep up with, whatever the rule."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched.bounds._servable import require_servable, usable_tokens
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server, require_numbers

_STEP_CLOCK = LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0)
_S_PER_MS = 1e-3


class StabilityLimits(NamedTuple):
    """Requests a second that no rule keeps up with, float64 ``[..]``; infinite for no limit.

    Attributes:
      memory: above it, the KV cache cannot hold what must be held at a time.
      work: above it, steps cannot compute what must be computed, though memory were free.
      rate: above it, both together are too much; at most each of the two.
    """

    memory: np.ndarray
    work: np.ndarray
    rate: np.ndarray


def stability(reqs: Requests | Instance, server: Server) -> StabilityLimits:
    r"""Rates of arrivals above which no rule keeps up: queues grow for as long as requests come.

    A request of prompt :math:`s` and output :math:`o` holds at least :math:`s + u - 1` tokens in
    the step that yields its :math:`u`-th, so the steps that serve it hold
    :math:`v = s o + \tfrac12 o (o - 1)` of them for it. They compute :math:`s + o - 1` tokens. On
    the clock :math:`a + bP + cB + dK + eQ` they take

    .. math::
       w = b s + e s^2 + (o - 1)\, c + d \Bigl( (o - 1) s + \tfrac12 (o - 1)(o - 2) \Bigr)

    and a share of :math:`a`. A step serves at most ``max_num_seqs`` requests :math:`R`, computes at
    most ``max_num_batched_tokens`` :math:`T`, and holds at most :math:`M` tokens, in whole
    blocks. With means :math:`E` over the requests,

    .. math::
       \text{memory} = \frac{M}{a\, E[v]}, \qquad
       \text{work} = \frac{1}{E[w] + a \max(E[o] / R,\; E[s + o - 1] / T)}, \\
       \text{rate} = \frac{1}{E[w] + a \max(E[o] / R,\; E[s + o - 1] / T,\; E[v] / M)} .

    Evictions under ``preemption="recompute"`` could let a token be computed as part of a prompt,
    for :math:`b (s + u - 1)` at least, instead of decoded for :math:`c + d (s + u - 2)`. Where
    that is less, it counts. The less of two lines bends down, so the mean of its ends
    :math:`u = 2` and :math:`u = o`, times :math:`o - 1`, is a lower bound of their sum.

    The limits are necessary, not sufficient: below them a rule may still fall behind. They also
    bound every finite stream: :math:`n` requests take at least :math:`n / \text{rate}` seconds
    from the first arrival to the last completion.

    Args:
      reqs: requests or a backlog, ``[n]`` or ``[.., n]``, with concrete values; arrivals are not
        read. They stand for the traffic to come.
      server: its numbers broadcast against the streams. Without a clock, a step takes a second.

    Returns:
      :class:`StabilityLimits`, one a stream and server.

    Raises:
      ValueError: the server would refuse a request or cut it short.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([300, 20], [40, 100], kv_capacity=8_000)
      >>> server = js.servers.get("llama3.1_8b_h100").replace(kv_capacity=8_000)
      >>> limits = js.bounds.stability(inst, server)
      >>> f"{limits.memory:.0f} {limits.work:.0f} {limits.rate:.0f}"
      '138 138 88'

    Source:
      Ours: Little's law for memory, and the work that each request brings. Conditions of this
      kind: Nie, Si, Zhou, 2026, arXiv:2605.04595.
    """
    refuse_traced("stability looks at values", "call it outside", (reqs, server))
    require_servable(reqs, require_numbers(server))
    clock = _STEP_CLOCK if server.clock is None else server.clock
    a, b, c, d, e = (
        np.asarray(each, np.float64)[..., None] * _S_PER_MS
        for each in (
            clock.iteration_ms,
            clock.prefill_ms_per_token,
            clock.decode_ms_per_request,
            clock.kv_ms_per_token,
            clock.attention_ms_per_squared_token,
        )
    )
    prompt, output = (
        np.asarray(each, np.float64) for each in (reqs.prompt_tokens, reqs.output_tokens)
    )
    real = np.asarray(reqs.is_real)

    def mean(values: np.ndarray) -> np.ndarray:
        count = np.maximum(real.sum(axis=-1), 1)
        return np.where(real, values, 0.0).sum(axis=-1) / count

    def after_first(u: np.ndarray) -> np.ndarray:
        decoded = c + d * (prompt + u - 2)
        is_recomputed = server.preemption == "recompute"
        return np.minimum(decoded, b * (prompt + u - 1)) if is_recomputed else decoded

    decodes = (output - 1) * (after_first(np.full_like(output, 2)) + after_first(output)) / 2
    work_s = mean(b * prompt + e * prompt**2 + decodes)
    seats = np.inf if server.max_num_seqs is None else np.asarray(server.max_num_seqs, np.float64)
    steps = np.maximum(
        mean(output) / seats, mean(prompt + output - 1) / np.asarray(server.max_num_batched_tokens)
    )
    held_steps = mean(prompt * output + output * (output - 1) / 2) / usable_tokens(server)
    a = a[..., 0]
    with np.errstate(divide="ignore"):
        memory, work, rate = (
            np.float64(1.0) / each
            for each in np.broadcast_arrays(
                a * held_steps, work_s + a * steps, work_s + a * np.maximum(steps, held_steps)
            )
        )
    return StabilityLimits(memory, work, rate)
