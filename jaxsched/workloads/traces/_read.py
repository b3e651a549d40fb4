"""Read a trace file as it stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsched.workloads.traces._recording import Recording, Trace, gathered


def has_arrival_times(
    path: str | os.PathLike[str], columns: Mapping[str, str] | str | None = None
) -> bool:
    r"""Say whether a trace gives times of arrival, by the names of its columns.

    Args:
      path: the file, in any form that :func:`read` takes.
      columns: as in :func:`read`.

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
    return Recording(path, columns).has_times


def read(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | str | None = None,
    since: int | str | None = None,
    until: int | str | None = None,
    times: bool = True,
) -> Trace:
    r"""Read request lengths and arrival times as they stand in a trace file.

    The format is recognized by the names of the columns; others are ignored, and so are case,
    spaces and dashes in a name:

    ========================== ==================================== ============================
    format                     lengths                              times
    ========================== ==================================== ============================
    Azure LLM inference        ContextTokens, GeneratedTokens       TIMESTAMP, dates
    BurstGPT                   Request tokens, Response tokens      Timestamp, s
    Mooncake                   input_length, output_length          timestamp, ms
    Qwen (Bailian)             the same, beside chat_id             timestamp, s
    Vidur                      num_prefill_tokens,                  arrived_at, s
                               num_decode_tokens
    LLMServingSim              input_toks, output_toks              arrival_time_ns, ns
    SplitwiseSim               prompt_size, token_size              arrival_timestamp, s
    AIPerf records             metrics.input_sequence_length.value, metadata.request_start_ns
                               metrics.output_sequence_length.value
    vLLM and SGLang benchmarks lists input_lens, output_lens        start_times, s
    ========================== ==================================== ============================

    The column of times may be absent. ISO dates are understood in every format, and seconds since
    1970 where times are dates or seconds. A file may not keep to the unit of its format. So where
    that is ms, us or ns, numbers that could be seconds are refused until ``columns`` gives the
    unit: times since 1970 in a longer unit, and fractions. Rows without a prompt or an output are
    kept: whether a row can run is for :func:`load` to judge.

    What the file holds says how it is laid out: text with commas, semicolons, tabs or bars and a
    header, where lines that begin with ``#`` are comments; JSON, a record a line, indented or an
    array; Parquet. Text is UTF-8, UTF-16 or UTF-32, plain, gzip, bzip2, xz, zstd or the one file
    of a zip.

    Args:
      path: the file.
      columns: names of the columns that hold ``prompt``, ``output`` and ``arrival``, and the
        ``unit`` of times that are numbers: s, ms, us or ns. A mapping, or a text such as
        ``"prompt=isl,output=osl,arrival=t,unit=ms"``. What it leaves out is as in the format.
      since: the first row to take, counted from 0; or a time since the first row such as "90s",
        "15m", "2h" or "1d"; or a date such as "2024-05-10T12:00".
      until: the row or time before which to stop, likewise.
      times: False leaves the times unread, so that bad ones do not matter.

    Returns:
      The rows in file order.

    Raises:
      ValueError: the format is unknown or ambiguous, there are no rows, the file is damaged, or a
        row holds something else than whole numbers >= 0 of tokens and finite times. The message
        names file, line, column and value.
      OSError: the file cannot be read.
      ImportError: a zstd or Parquet file, and pyarrow is not installed.

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
    recording = Recording(path, columns, since, until)
    has_times = times and recording.has_times
    dtypes: dict[str, Any] = dict.fromkeys(("prompt_tokens", "output_tokens", "line"), np.int64)
    if has_times:
        dtypes["arrived_at"] = np.float64
    joined = dict(zip(dtypes, gathered(recording.chunks(times), **dtypes), strict=True))
    return Trace(joined.pop("arrived_at", None), **joined)
