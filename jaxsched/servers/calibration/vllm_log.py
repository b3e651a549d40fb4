"""The lines of ``vllm serve --enable-logging-iteration-details``, and what they leave open.

A line says how many tokens of prompts were computed and for how many requests, how many requests
decoded, how long the model took, and how much of the cache is in use once requests that finish
have left. Older versions do not say the last. Three things follow:

- tokens cached before a step are those in use after the one before it, less the part of a prompt
  that is computed so far and less half a block a request;
- chunks are known where one prompt is computed at a time, over one step or several. Where several
  begin in one step only their sum is known. Equal parts would be too few squared tokens, so such
  steps are left out, unless most steps with prompts are so;
- a request that is computed again after an eviction counts as generation, with all its tokens:
  steps in which generation tokens and requests differ are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxsched._lib.words import counted
from jaxsched.servers.calibration.columns import opened

_LINE = re.compile(
    r"(?:Engine (?P<engine>\d+): |\(EngineCore(?:_DP)?(?P<core>\d+)?[ )].*?)?"
    r"Iteration\((?P<index>\d+)\): (?P<filling>\d+) context requests, "
    r"(?P<prefill>\d+) context tokens, (?P<decoding>\d+) generation requests, "
    r"(?P<generated>\d+) generation tokens, iteration elapsed time: (?P<ms>[\d.]+) ms"
    r"(?P<dummy> \(dummy\))?(?:, GPU KV cache usage: (?P<usage>[\d.]+)%)?"
    r"(?:, encoder inputs: (?P<encoded>\d+))?"
)
_CAPACITY = re.compile(r"GPU KV cache size: ([\d,]+) tokens")
_HEAD_LINES = 100_000
_LEAST_MS = 0.1  # no model is so quick: the result was there before it was asked for
_MOST_TOO_QUICK = 0.1


class Line(NamedTuple):
    """One line of the log."""

    index: int
    filling: int
    prefill: int
    decoding: int
    generated: int
    ms: float
    usage: float | None
    is_plain: bool  # no padding step of data parallelism, no images


def is_vllm_log(path: str | os.PathLike[str]) -> bool:
    """Whether one of the first lines is of an iteration."""
    with opened(path) as file:
        return any(_LINE.search(line) for line, _ in zip(file, range(_HEAD_LINES), strict=False))


def said_capacity(path: str | os.PathLike[str]) -> int | None:
    """Find the KV capacity that the log says, the last of several."""
    with opened(path) as file:
        said = [found[1] for line in file if (found := _CAPACITY.search(line)) is not None]
    return int(said[-1].replace(",", "")) if said else None


def read_vllm_log(
    path: str | os.PathLike[str], kv_capacity: int, block_size: int
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Give the columns of :class:`Steps`, and say what was left out.

    Raises:
      ValueError: lines do not say how full the cache is, or steps were not timed.
    """
    by_engine = _lines(path)
    total = sum(map(len, by_engine.values()))
    lines = [line for lines in by_engine.values() for line in lines]
    if all(line.usage is None for line in lines):
        raise ValueError(
            'its lines do not say "GPU KV cache usage"; log with a newer vLLM, or '
            "give a CSV with prefill_tokens, decoding_requests, kv_tokens and ms"
        )
    too_quick = sum(line.ms < _LEAST_MS for line in lines)
    if too_quick > _MOST_TOO_QUICK * total:
        raise ValueError(
            f"{too_quick} of {total} steps took less than {_LEAST_MS} ms, as asynchronous "
            "scheduling logs them; serve with --no-async-scheduling"
        )
    known = [
        row for lines in by_engine.values() for row in _known_steps(lines, kv_capacity, block_size)
    ]
    if not known:
        raise ValueError(f"{counted(total, 'step')}, and of none is the work known")
    *columns, filling = np.array(known, np.float64).T
    is_shared = filling > 1
    notes = []
    if 2 * is_shared.sum() > (filling > 0).sum():
        notes.append(
            "most steps with prompts have several, taken as equal parts; the cost of squared "
            "prompt tokens is a guess"
        )
    else:
        columns = [column[~is_shared] for column in columns]
    if left_out := total - columns[0].size:
        notes.append(
            f"left out {counted(left_out, 'step')} of {total} whose chunks or time are not known"
        )
    return columns, tuple(notes)


def _lines(path: str | os.PathLike[str]) -> dict[str, list[Line]]:
    by_engine: dict[str, list[Line]] = {}
    with opened(path) as file:
        for text in file:
            found = _LINE.search(text) if "Iteration(" in text else None
            if found is None:
                continue
            usage = found["usage"]
            line = Line(
                index=int(found["index"]),
                filling=int(found["filling"]),
                prefill=int(found["prefill"]),
                decoding=int(found["decoding"]),
                generated=int(found["generated"]),
                ms=float(found["ms"]),
                usage=None if usage is None else float(usage) / 100.0,
                is_plain=found["dummy"] is None and not int(found["encoded"] or 0),
            )
            by_engine.setdefault(found["engine"] or found["core"] or "", []).append(line)
    return by_engine


def _known_steps(
    lines: list[Line], kv_capacity: int, block_size: int
) -> Iterator[tuple[float, float, float, float, float, int]]:
    """Give P, B, KV, Q, ms and the number of prompts of the steps whose work the log tells.

    ``computed`` is how much of the one prompt is computed that is part done before a step: 0
    where there is none, None where that is not known.
    """
    budget = max(line.prefill + line.generated for line in lines)
    before: Line | None = None
    computed: int | None = None
    for line in lines:
        if before is None or line.index != before.index + 1:
            before, computed = None, None
        if not line.filling:
            computed = 0
        is_known = computed is not None and (computed == 0 or line.filling == 1)
        is_plain = line.is_plain and line.generated == line.decoding
        if before is not None and before.usage is not None and is_known and is_plain:
            assert computed is not None
            if line.ms >= _LEAST_MS and line.prefill + line.decoding:
                held = before.usage * kv_capacity - computed
                cached = max(held - line.decoding * (block_size - 1) / 2, 0.0)
                squares = (computed + line.prefill) ** 2 - computed**2
                # Of several prompts that begin in one step only the sum is known: equal parts.
                squares = squares / line.filling if line.filling > 1 else squares
                cached = cached if line.decoding else 0.0
                yield line.prefill, line.decoding, cached, squares, line.ms, line.filling
        # Where budget was left, every prompt is computed to its end.
        if line.prefill + line.generated < budget:
            computed = 0
        elif line.filling == 1 and computed is not None:
            computed += line.prefill
        else:
            computed = None
        before = line
