"""Steps that a fitted clock was never fitted to."""

from __future__ import annotations

import warnings

import numpy as np

from jaxsched._lib.arrays import is_traced
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server

_SLACK = 1.01  # a fit does not end where its last step does


def warn_beyond_the_box(reqs: Requests, server: Server, out: Outcome) -> None:
    """Warn where a step took in more than any that the server's clock was fitted to.

    The outcome is read, not every step: requests decode from their first token to their last, the
    most tokens cached are counted, and a prompt is computed in pieces as large as the budget.
    """
    box = None if server.clock is None else server.clock.box
    if box is None or is_traced(server, reqs, out):
        return
    most_prompt = np.minimum(
        np.where(reqs.is_real, reqs.prompt_tokens, 0).max(initial=0),
        np.max(server.max_num_batched_tokens),
    )
    limits = {
        f"{box.prefill_tokens:.0f} prompt tokens": (most_prompt, box.prefill_tokens),
        f"{box.decoding_requests:.0f} decoding requests": (
            _most_decoding(out),
            box.decoding_requests,
        ),
        f"{box.kv_tokens:.0f} held tokens": (
            np.max(out.peak_kv_tokens, initial=0),
            box.kv_tokens,
        ),
    }
    if beyond := [limit for limit, (most, fitted) in limits.items() if most > _SLACK * fitted]:
        warnings.warn(
            f"some steps take in more than {' and '.join(beyond)}, the most that the clock was "
            "fitted to: their times are a guess",
            stacklevel=3,
        )


def _most_decoding(out: Outcome) -> int:
    """Count requests between their first token and their last, where most are."""
    first, last = np.asarray(out.first_token), np.asarray(out.completion)
    first = np.where(np.isnan(last), np.nan, first)
    times = np.concatenate([last, first], axis=-1)  # who ends leaves before others join
    step = np.where(np.arange(times.shape[-1]) < last.shape[-1], -1, 1) * ~np.isnan(times)
    order = np.argsort(times, axis=-1, kind="stable")
    return int(np.cumsum(np.take_along_axis(step, order, axis=-1), axis=-1).max(initial=0))
