"""Which rows of a trace can run, and what becomes of the others."""

from __future__ import annotations

import warnings

import numpy as np

from jaxsched._lib.errors import MAX_INT32, InputError
from jaxsched.workloads.traces._read import Trace


class TraceWarning(UserWarning):
    """Rows of a trace were left out because they cannot run."""


class _CannotRun(InputError):
    """Rows cannot run, and ``drop_invalid`` is False."""

    def __init__(self, finding: str):
        super().__init__("drop_invalid", False, "", finding=finding)
        self.args = (finding,)  # to be pickled by

    def about(self, name: str) -> str:
        """Say so, and which argument leaves them out."""
        return f"{self.finding}, {name} leaves them out"

    def __str__(self) -> str:
        return self.about("drop_invalid=True")


def runnable_rows(
    path: object, trace: Trace, kv_capacity: int | None, drop_invalid: bool
) -> np.ndarray:
    """Positions of the rows that can run; the others are an error or a warning.

    Args:
      path: of the file, for messages.
      trace: its rows.
      kv_capacity: tokens that prompt and output may take together; None for any number of int32.
      drop_invalid: whether other rows are left out with a warning, which blames the caller's
        caller.
    """
    prompt, output = trace.prompt_tokens, trace.output_tokens
    most = MAX_INT32 if kv_capacity is None else kv_capacity
    can_run = (prompt >= 1) & (output >= 1) & (prompt + output <= most)
    if can_run.all():
        return np.arange(len(can_run))
    first = int(np.argmin(can_run))
    if prompt[first] < 1:
        reason = f"the prompt has {prompt[first]} tokens; expected at least 1"
    elif output[first] < 1:
        reason = f"the output has {output[first]} tokens; expected at least 1"
    else:
        reason = (
            f"prompt and output take {prompt[first] + output[first]} tokens; expected at most "
            + ("2^31 - 1" if kv_capacity is None else f"kv_capacity = {kv_capacity}")
        )
    reason = f"{path}: line {trace.line[first]}: {reason}"
    count = f"{np.count_nonzero(~can_run)} of {len(can_run)} rows"
    if not drop_invalid:
        raise _CannotRun(f"{reason}; {count} cannot run")
    if not can_run.any():
        raise ValueError(f"{reason}; no row can run")
    warnings.warn(f"left out {count}, the first being {reason}", TraceWarning, stacklevel=3)
    return np.flatnonzero(can_run)
