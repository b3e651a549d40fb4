"""Backlogs made of recorded requests."""

from __future__ import annotations

import os
import warnings

import jax
import numpy as np

from jaxsched._lib.errors import InputError, integer
from jaxsched.model.instance import Instance
from jaxsched.workloads.traces._read import Trace, read


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


def load(
    path: str | os.PathLike[str],
    kv_capacity: int,
    *,
    num_requests: int | None = None,
    batch: int | None = None,
    key: jax.Array | None = None,
    drop_invalid: bool = False,
) -> Instance:
    r"""Make backlogs of the requests in a trace file, all waiting at round 0.

    Without ``num_requests`` every row is taken, in file order. With it, each instance is its
    own uniform sample of rows without replacement, kept in file order; a row may be in several
    instances. Arrival times are not used; :func:`read` gives them.

    Args:
      path: a file in one of the formats of :func:`read`, plain or gzip.
      kv_capacity: tokens the cache holds.
      num_requests: rows to sample for each instance, n; None for all of them.
      batch: number of sampled instances B, or None for one without a leading axis.
      key: a jax random key, for sampling only; equal keys give equal samples.
      drop_invalid: leave out rows that cannot run (a prompt or output below 1 token, or
        together above ``kv_capacity``) with a :class:`TraceWarning` that counts them and names
        the first, instead of raising. Rows that cannot be read always raise.

    Returns:
      An instance ``[n]`` or ``[B, n]``.

    Raises:
      ValueError: the file cannot be read (see :func:`read`), a row cannot run and
        ``drop_invalid`` is False, more rows are asked for than there are, or ``num_requests``,
        ``batch`` and ``key`` do not go together. The message names file, line and value.
      OSError: the file cannot be opened.

    Example:
      >>> import pathlib, tempfile
      >>> import jax
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "trace.csv")
      ...     _ = file.write_text("num_prefill_tokens,num_decode_tokens\n3,2\n1,4\n5,1\n")
      ...     whole = js.traces.load(file, kv_capacity=8)
      ...     pairs = js.traces.load(file, 8, num_requests=2, batch=5, key=jax.random.key(0))
      >>> whole.prompt_tokens.tolist(), pairs
      ([3, 1, 5], Instance(leading=(5,), n=2, kv_capacity=8))
    """
    trace = read(path)
    runnable = _runnable_rows(path, trace, kv_capacity, drop_invalid)
    rows = runnable[_sampled(path, len(runnable), num_requests, batch, key)]
    return Instance.from_lengths(
        trace.prompt_tokens[rows], trace.output_tokens[rows], kv_capacity=kv_capacity
    )


def _runnable_rows(path: object, trace: Trace, kv_capacity: int, drop_invalid: bool) -> np.ndarray:
    """Positions of the rows that can run; the others are an error or a warning."""
    prompt, output = trace.prompt_tokens, trace.output_tokens
    can_run = (prompt >= 1) & (output >= 1) & (prompt + output <= kv_capacity)
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
            f"kv_capacity = {kv_capacity}"
        )
    reason = f"{path}: line {trace.line[first]}: {reason}"
    count = f"{np.count_nonzero(~can_run)} of {len(can_run)} rows"
    if not drop_invalid:
        raise _CannotRun(f"{reason}; {count} cannot run")
    if not can_run.any():
        raise ValueError(f"{reason}; no row can run")
    warnings.warn(f"left out {count}, the first being {reason}", TraceWarning, stacklevel=3)
    return np.flatnonzero(can_run)


def _sampled(
    path: object,
    num_rows: int,
    num_requests: int | None,
    batch: int | None,
    key: jax.Array | None,
) -> np.ndarray:
    """Which of ``num_rows`` each instance holds, ``[n]`` or ``[B, n]``, ascending."""
    if num_requests is None or key is None:
        if num_requests is None and key is None and batch is None:
            return np.arange(num_rows)
        raise ValueError(
            "a sample needs both num_requests and key (and batch for several instances); "
            "without them the whole trace is one instance"
        )
    if not 1 <= num_requests <= num_rows:
        raise InputError(
            "num_requests",
            num_requests,
            f"expected 1 to {num_rows}, the rows of {path} that can run",
        )
    if batch is not None:
        integer("batch", batch)
    # On the host, where the rows are: a permutation of the trace for each instance would be
    # far more work than a small sample.
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    samples = [
        np.sort(generator.choice(num_rows, num_requests, replace=False, shuffle=False))
        for _ in range(batch or 1)
    ]
    return samples[0] if batch is None else np.stack(samples)
