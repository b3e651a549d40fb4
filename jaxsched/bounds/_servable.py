"""Requests that a server would refuse have no place in a bound on what it can reach."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched._lib.errors import reject
from jaxsched.model.server import Server


def usable_tokens(server: Server) -> np.ndarray:
    """Tokens in whole blocks of the KV cache, int64 ``[..]``."""
    block = np.asarray(server.block_size, np.int64)
    return np.asarray(server.kv_capacity, np.int64) // block * block


def require_servable(reqs: Any, server: Server) -> None:
    """Raise if a request never fits or would be cut short; the last token is never stored.

    Args:
      reqs: anything with ``prompt_tokens``, ``output_tokens`` and ``is_real`` ``[.., n]``.
      server: numbers ``[..]``.

    Raises:
      ValueError: request, tokens and remedy are named.
    """
    total = np.asarray(reqs.prompt_tokens, np.int64) + np.asarray(reqs.output_tokens)
    real = np.asarray(reqs.is_real)
    for limit, name in (
        (usable_tokens(server) + 1, "kv_capacity"),
        (np.asarray(server.max_model_len, np.int64), "max_model_len"),
    ):
        tokens, is_bad = np.broadcast_arrays(total, real & (total > limit[..., None]))
        remedy = f"expected what the server takes whole; raise its {name}, or leave the request out"
        reject("prompt_tokens + output_tokens", tokens, is_bad, remedy)
    if not np.all(server.enable_chunked_prefill):
        budget = np.where(
            server.enable_chunked_prefill, total.max() + 1, server.max_num_batched_tokens
        )
        tokens, is_bad = np.broadcast_arrays(total, real & (total > budget[..., None] + 1))
        remedy = "expected what the budget takes in one step; raise max_num_batched_tokens"
        reject("prompt_tokens + output_tokens", tokens, is_bad, remedy)
