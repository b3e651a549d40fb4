"""Backlogs made of recorded requests."""

from __future__ import annotations

import os

import jax

from jaxsched.model.instance import Instance
from jaxsched.workloads.traces._read import read
from jaxsched.workloads.traces._runnable import runnable_rows
from jaxsched.workloads.traces._sample import anywhere, sampled


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
    instances. Arrival times are not used; :func:`load_requests` keeps them.

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
    runnable = runnable_rows(path, trace, kv_capacity, drop_invalid)
    rows = runnable[sampled(path, len(runnable), num_requests, batch, key, anywhere)]
    return Instance.from_lengths(
        trace.prompt_tokens[rows], trace.output_tokens[rows], kv_capacity=kv_capacity
    )
