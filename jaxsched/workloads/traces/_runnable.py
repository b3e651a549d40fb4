"""Which rows of a trace can run, and what becomes of the others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsched._lib.errors import MAX_INT32
from jaxsched.workloads.traces._errors import Settled
from jaxsched.workloads.traces._recording import Recording, Trace


class TraceWarning(UserWarning):
    """Rows of a trace were left out because they cannot run."""


class Runnable:
    """The rows of a recording that can run, and a count of the others.

    Args:
      recording: the file.
      kv_capacity: tokens that prompt and output may take together; None for any number of int32.
      with_times: whether rows need a time of arrival, if the file gives times.
    """

    def __init__(self, recording: Recording, kv_capacity: int | None, with_times: bool):
        self._recording, self._with_times = recording, with_times
        self._capacity = kv_capacity
        self._count = self._left_out = 0
        self._first = ""

    def chunks(self) -> Iterator[Trace]:
        """Give the rows that can run, some at a time."""
        self._count = self._left_out = 0
        most = MAX_INT32 if self._capacity is None else min(self._capacity, MAX_INT32)
        for trace in self._recording.chunks(self._with_times):
            prompt, output = trace.prompt_tokens, trace.output_tokens
            can_run = (prompt >= 1) & (output >= 1) & (prompt + output <= most)
            if trace.arrived_at is not None and self._with_times:
                can_run &= ~np.isnan(trace.arrived_at)
            self._count += can_run.size
            if can_run.all():
                yield trace
                continue
            if not self._left_out:
                self._first = self._reason(trace, int(np.argmin(can_run)))
            self._left_out += can_run.size - np.count_nonzero(can_run)
            yield trace.at(can_run)

    def conclude(self, drop_invalid: bool) -> None:
        """Raise or warn if rows were left out, once all are read; blames the caller's caller."""
        if not self._left_out:
            return
        count = f"{self._left_out} of {self._count} rows"
        if not drop_invalid:
            raise Settled(
                *("drop_invalid", "drop_invalid=True"),
                *(f"{self._first}; {count} cannot run, ", "leaves them out"),
            )
        if self._left_out == self._count:
            raise ValueError(f"{self._first}; no row can run")
        text = f"left out {count}, the first being {self._first}"
        warnings.warn(text, TraceWarning, stacklevel=3)

    def _reason(self, trace: Trace, row: int) -> str:
        prompt, output = trace.prompt_tokens[row], trace.output_tokens[row]
        if prompt < 1:
            reason = f"the prompt has {prompt} tokens; expected at least 1"
        elif output < 1:
            reason = f"the output has {output} tokens; expected at least 1"
        elif self._with_times and trace.arrived_at is not None and np.isnan(trace.arrived_at[row]):
            reason = (
                "has no time of arrival; a later turn of a session arrives when the one before it "
                "is answered, which a file cannot say"
            )
        else:
            most = "2^31 - 1" if self._capacity is None else f"kv_capacity = {self._capacity}"
            reason = f"prompt and output take {prompt + output} tokens; expected at most {most}"
        return f"{self._recording.path}: {self._recording.place} {trace.line[row]}: {reason}"


def picked(traces: Iterator[Trace], rows: np.ndarray) -> Trace:
    """Take the rows at some positions, which ascend, of all that ``traces`` give."""
    found, begin = [], 0
    for trace in traces:
        end = begin + len(trace.line)
        low, high = np.searchsorted(rows, (begin, end))
        found.append(trace.at(rows[low:high] - begin))
        begin = end
        if high == len(rows):
            break
    columns: Any = (
        None if parts[0] is None else np.concatenate(parts) for parts in zip(*found, strict=True)
    )
    return Trace(*columns)
