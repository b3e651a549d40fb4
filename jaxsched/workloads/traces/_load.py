"""Backlogs made of recorded requests."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax
import numpy as np

from jaxsched._lib.errors import MAX_INT32, InputError, integer
from jaxsched.model.instance import Instance
from jaxsched.workloads.traces._recording import Recording, gathered
from jaxsched.workloads.traces._runnable import Runnable, picked
from jaxsched.workloads.traces._sample import anywhere, require_sample, sampled


def load(
    path: str | os.PathLike[str],
    kv_capacity: int,
    *,
    num_requests: int | None = None,
    batch: int | None = None,
    key: jax.Array | None = None,
    drop_invalid: bool = False,
    columns: Mapping[str, str] | str | None = None,
    since: int | str | None = None,
    until: int | str | None = None,
) -> Instance:
    r"""Make backlogs of the requests in a trace file, all waiting at round 0.

    Without ``num_requests`` every row is taken, in file order. With it, each instance is its
    own uniform sample of rows without replacement, kept in file order; a row may be in several
    instances. Arrival times are not used and may be bad, unless ``since`` or ``until`` is one;
    :func:`load_requests` keeps them. The file is read a few thousand rows at a time, and for
    samples twice, so that no more of it is held than what is returned.

    Args:
      path: a file in any form that :func:`read` takes.
      kv_capacity: tokens the cache holds.
      num_requests: rows to sample for each instance, n; None for all of them.
      batch: number of sampled instances B, or None for one without a leading axis.
      key: a jax random key, for sampling only; equal keys give equal samples.
      drop_invalid: leave out rows that cannot run (a prompt or output below 1 token, or
        together above ``kv_capacity``) with a :class:`TraceWarning` that counts them and names
        the first, instead of raising. Rows that cannot be read always raise.
      columns: which columns hold what, as in :func:`read`.
      since: the first row to take, or a time, as in :func:`read`.
      until: where to stop, likewise.

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
    kv_capacity = integer("kv_capacity", kv_capacity, 1, MAX_INT32)
    require_sample(num_requests, batch, key, is_keyed=False)
    recording = Recording(path, columns, since, until)
    runnable = Runnable(recording, kv_capacity, with_times=False)
    if num_requests is None:
        prompt, output = gathered(runnable.chunks(), prompt_tokens=np.int32, output_tokens=np.int32)
        runnable.conclude(drop_invalid)
        return _instance(path, prompt, output, kv_capacity)
    num_rows = sum(len(trace.line) for trace in runnable.chunks())
    runnable.conclude(drop_invalid)
    rows = sampled(path, num_rows, num_requests, batch, key, anywhere)
    taken, place = np.unique(rows, return_inverse=True)
    trace = picked(runnable.chunks(), taken).at(place.reshape(rows.shape))
    return _instance(path, trace.prompt_tokens, trace.output_tokens, kv_capacity)


def _instance(path: object, prompt: np.ndarray, output: np.ndarray, kv_capacity: int) -> Instance:
    try:
        return Instance.from_lengths(prompt, output, kv_capacity=kv_capacity)
    except InputError as error:
        if error.argument != "output_tokens":
            raise
        remedy = "take fewer rows: since=, until= or num_requests="  # all of which it adds up
        raise ValueError(f"{path}: {error}; {remedy}") from error
