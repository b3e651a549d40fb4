"""What a server would do with a request if it were alone."""

from __future__ import annotations

from typing import Any

import jax

from jaxsched._lib.arrays import namespace
from jaxsched.model.clock import LinearClock
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server


def generated_tokens(reqs: Requests, server: Server | None) -> Any:
    """Output tokens of each request, int64 ``[.., n]``, cut at the server's ``max_model_len``.

    At least 1, also for a request that is refused since its prompt alone is as long.
    """
    xp = namespace(reqs.output_tokens)
    output = xp.asarray(reqs.output_tokens, xp.int64)
    if server is None:
        return output
    room = xp.asarray(server.max_model_len, xp.int64)[..., None] - reqs.prompt_tokens
    return xp.maximum(xp.minimum(output, room), 1)


def alone_s(reqs: Requests, server: Server) -> Any:
    r"""End-to-end latency of each request on an idle server, by the server's clock.

    The prompt :math:`s` takes :math:`\lceil s / T \rceil` steps of at most :math:`T` tokens, the
    budget, the last of which gives the first token. Each of the other :math:`o - 1` output tokens
    takes a step that reads the tokens before it.

    .. math::
       \left(\left\lceil \tfrac sT \right\rceil + o - 1\right) a + b s + e s^2
       + (o - 1) \left(c + d \left(s + \tfrac{o - 2}2\right)\right)

    Args:
      reqs: the requests, ``[.., n]``.
      server: all of its numbers ``[..]``; without a clock each step takes a second.

    Returns:
      float64 seconds ``[.., n]``.
    """
    xp = namespace(reqs.prompt_tokens)
    clock = LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0) if server.clock is None else server.clock
    a, b, c, d, e = (xp.asarray(each, float)[..., None] for each in jax.tree.leaves(clock))
    prompt = xp.asarray(reqs.prompt_tokens, float)
    num_decodes = generated_tokens(reqs, server) - 1.0
    num_chunks = xp.ceil(prompt / xp.asarray(server.max_num_batched_tokens)[..., None])
    prefill_ms = a * num_chunks + b * prompt + e * prompt**2
    decode_ms = num_decodes * (a + c + d * (prompt + (num_decodes - 1) / 2))
    return (prefill_ms + decode_ms) / 1000
