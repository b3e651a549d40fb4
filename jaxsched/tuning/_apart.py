"""Traffic to learn from, to choose by and to report on: refused where it is not kept apart."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched.model.requests import Requests

_RUN = 16  # requests in a row, none like another, that two recordings do not share by chance


def require_apart(sides: Mapping[str, Requests | None]) -> None:
    """Raise if two of several sets of streams share some.

    Streams overlap where a whole one of two or more requests is in the other, to the second, or
    where 16 requests in a row have the same lengths, and no two of these are alike, as in windows
    of one recording. Streams of one request, which all begin at their first arrival, coincide by
    chance.
    """
    given = {name: reqs for name, reqs in sides.items() if reqs is not None}
    marks = {name: _marks(reqs) for name, reqs in given.items()}
    for (first, ours), (second, others) in itertools.combinations(marks.items(), 2):
        shared = ours.keys() & others.keys()
        if shared:
            mark = min(shared, key=lambda mark: others[mark])
            finding = f"shares requests with {first}: stream {others[mark]} with {ours[mark]}"
            raise InputError(
                second,
                "",
                "take other draws, or rows of the trace from another time",
                finding=finding,
            )


def _marks(reqs: Requests) -> dict[bytes, int]:
    """Bytes that tell what is in streams, with the number of a stream that holds them."""
    n = reqs.is_real.shape[-1]
    prompt, output, arrival, real = (
        np.asarray(each).reshape(-1, n)
        for each in (reqs.prompt_tokens, reqs.output_tokens, reqs.arrival_s, reqs.is_real)
    )
    marks: dict[bytes, int] = {}
    for number in range(len(real)):
        here = real[number]
        lengths = np.stack([prompt[number][here], output[number][here]], axis=-1).astype(np.int64)
        if len(lengths) > 1:
            marks.setdefault(lengths.tobytes() + arrival[number][here].tobytes(), number)
        size = lengths.astype(np.int64) @ np.array([2**31, 1])
        for begin in range(len(size) - _RUN + 1):
            run = size[begin : begin + _RUN]
            if len(set(run.tolist())) == _RUN:
                marks.setdefault(run.tobytes(), number)
    return marks
