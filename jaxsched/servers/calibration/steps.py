"""What a clock is fitted to: the work of steps and the time they took."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxsched._lib.errors import InputError, bounded, in_file
from jaxsched.servers.calibration.columns import read_csv, resolved
from jaxsched.servers.calibration.vllm_log import is_vllm_log, read_vllm_log, said_capacity

#: Names of each column of steps, the first as messages call it.
_NAMES = {
    "prefill_tokens": ("context_tokens", "prompt_tokens", "step_p", "p"),
    "decoding_requests": ("decode_requests", "generation_requests", "step_b", "b"),
    "kv_tokens": ("cached_tokens", "step_kv", "kv"),
    "ms": ("step_ms", "duration_ms", "elapsed_ms", "iteration_ms", "time_ms"),
}
_OPTIONAL = {
    "squared_tokens": ("squared_prompt_tokens", "step_q", "q"),
    "seconds": ("step_s", "duration_s", "elapsed_s", "time_s"),
    "begin": ("step_clock", "begin_s", "start_s"),
    "end": ("step_end", "end_s"),
}


class Steps(NamedTuple):
    """Work and time of steps, float64 ``[n]`` each.

    Attributes:
      prefill_tokens: prompt tokens that each prefilled.
      decoding_requests: requests that decoded.
      kv_tokens: tokens that these had cached before.
      squared_tokens: squared prompt tokens; None where that is not known.
      ms: time it took, in milliseconds.
      notes: sentences about steps that were left out.
    """

    prefill_tokens: np.ndarray
    decoding_requests: np.ndarray
    kv_tokens: np.ndarray
    squared_tokens: np.ndarray | None
    ms: np.ndarray
    notes: tuple[str, ...] = ()


def read_steps(
    path: str | os.PathLike[str], kv_capacity: int | None, block_size: int
) -> tuple[Steps, int | None]:
    """Read a log of vLLM or a CSV of steps; also the KV capacity, where it is known.

    Raises:
      InputError: the KV capacity is needed.
      ValueError: the file is neither, or a row cannot be.
    """
    with in_file(path):
        is_log = is_vllm_log(path)
        if is_log and kv_capacity is None:
            kv_capacity = said_capacity(path)
        if not is_log:
            return _from_columns(read_csv(path)), kv_capacity
    if kv_capacity is None:
        raise InputError(
            "kv_capacity",
            None,
            'give the tokens that vLLM prints as "GPU KV cache size" when it starts',
            finding=f"is missing, and {path} does not say it",
        )
    with in_file(path):
        (prefill, decoding, cached, squares, ms), notes = read_vllm_log(
            path, kv_capacity, block_size
        )
    return Steps(prefill, decoding, cached, squares, ms, notes), kv_capacity


def _from_columns(columns: Mapping[str, np.ndarray]) -> Steps:
    found = resolved(columns, {**_NAMES, **_OPTIONAL})
    if "ms" not in found and "seconds" in found:
        found["ms"] = 1000.0 * found["seconds"]
    elif "ms" not in found and {"begin", "end"} <= found.keys():
        found["ms"] = 1000.0 * (found["end"] - found["begin"])
    for name in _NAMES:
        if name not in found:
            present = ", ".join(list(columns)[:8]) or "none"
            raise ValueError(
                f"has no column {name}, and no lines of vLLM's iterations; columns present: "
                f"{bounded(present)}"
            )
    ms = found["ms"]
    if not (ms > 0).all():
        row = int(np.argmax(~(ms > 0)))
        raise InputError("ms", ms[row], "expected a time above 0", (row,))
    return Steps(
        found["prefill_tokens"],
        found["decoding_requests"],
        found["kv_tokens"],
        found.get("squared_tokens"),
        ms,
    )
