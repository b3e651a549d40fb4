"""Read a trace file as it stands."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxsched.workloads.traces._formats import numbers, recognise
from jaxsched.workloads.traces._rows import rows

_MAX_EXACT_FLOAT = 2.0**53


class Trace(NamedTuple):
    """The rows of a trace file in file order, each column a numpy array ``[n]``.

    Attributes:
      arrived_at: float64 seconds as the file counts them, from the first row where the file
        gives dates; None where the file gives no times.
      prompt_tokens: int64 tokens.
      output_tokens: int64 tokens; 0 where the service failed to answer.
      line: int64, the line of the file that holds the row, the first being 1.
    """

    arrived_at: np.ndarray | None
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    line: np.ndarray


def has_arrival_times(path: str | os.PathLike[str]) -> bool:
    r"""Say whether a trace gives times of arrival, by the names of its columns.

    Args:
      path: the file, plain or gzip.

    Returns:
      True if there is a column of times.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "trace.csv"
      ...     _ = path.write_text("num_prefill_tokens,num_decode_tokens\n3772,54\n")
      ...     js.traces.has_arrival_times(path)
      False
    """
    columns = [name.strip() for name in next(rows(Path(path)), (0, []))[1]]
    return recognise(columns).arrival in columns


def read(path: str | os.PathLike[str]) -> Trace:
    r"""Read request lengths and arrival times as they stand in a trace file.

    The format is recognised by the names of its columns, compression by the first bytes:

    =================== ================================================= =====
    format              columns; others are ignored                       file
    =================== ================================================= =====
    Azure LLM inference TIMESTAMP, ContextTokens, GeneratedTokens         csv
    BurstGPT            Timestamp, Request tokens, Response tokens        csv
    Mooncake            timestamp (ms), input_length, output_length       jsonl
    Vidur               arrived_at, num_prefill_tokens, num_decode_tokens csv
    =================== ================================================= =====

    The column of times may be absent. Rows without a prompt or an output are kept: whether a
    row can run is for :func:`load` to judge.

    Args:
      path: the file, plain or gzip.

    Returns:
      The rows in file order.

    Raises:
      ValueError: the format is unknown, there are no rows, or a row lacks a field or holds
        something else than whole numbers >= 0 of tokens and finite times. The message names
        file, line, column and value.
      OSError: the file cannot be read.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "trace.csv")
      ...     _ = file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n"
      ...                         "2023-11-16 18:17:03.9799600,4808,10\n"
      ...                         "2023-11-16 18:17:04.0319600,3180,8\n")
      ...     trace = js.traces.read(file)
      >>> trace.arrived_at.tolist(), trace.prompt_tokens.tolist(), trace.output_tokens.tolist()
      ([0.0, 0.052], [4808, 3180], [10, 8])
    """
    try:
        table = rows(Path(path))
        columns = [name.strip() for name in next(table, (0, []))[1]]
        form = recognise(columns)
        names = [name for name in (form.prompt, form.output, form.arrival) if name in columns]
        wanted = operator.itemgetter(*map(columns.index, names))
        picked = [(line, *wanted(row)) for line, row in table]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not picked:
        raise ValueError(f"{path}: holds no requests; expected rows below the header")
    lines, *cells = zip(*picked, strict=True)
    cells_of = dict(zip(names, cells, strict=True))

    def require(is_valid: np.ndarray, name: str, expectation: str) -> None:
        if not is_valid.all():
            row = int(np.argmin(is_valid))
            value = cells_of[name][row]
            shown = "missing" if value is None else repr(value)
            raise ValueError(f"{path}: line {lines[row]}: {name} is {shown}; {expectation}")

    def tokens(name: str) -> np.ndarray:
        values = numbers(cells_of[name])
        is_count = (values >= 0) & (values < _MAX_EXACT_FLOAT) & (values == np.floor(values))
        require(is_count, name, "expected a whole number of tokens")
        return values.astype(np.int64)

    def seconds(name: str) -> np.ndarray:
        values = form.seconds(cells_of[name])
        require(np.isfinite(values), name, "expected a time")
        return values

    return Trace(
        arrived_at=seconds(form.arrival) if form.arrival in columns else None,
        prompt_tokens=tokens(form.prompt),
        output_tokens=tokens(form.output),
        line=np.array(lines, np.int64),
    )
