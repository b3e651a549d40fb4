"""From a file to its table, by what the file holds and not by its name."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from jaxsched._lib.streams import require_regular
from jaxsched.workloads.traces._delimited import delimited
from jaxsched.workloads.traces._json import json_lines, json_values
from jaxsched.workloads.traces._parquet import MAGIC, parquet_table
from jaxsched.workloads.traces._table import Table
from jaxsched.workloads.traces._text import lines, text_of

_HEAD = 2**16  # characters to tell layouts apart by

# An object around the records, with texts and numbers above them. Lists of other names may be in a
# record itself, such as messages.
_WRAPPED = re.compile(
    r'\{\s*(?:"[^"\\]*+"\s*:\s*(?:"[^"\\]*+"|[\w.+-]++)\s*,\s*)*+'
    r'"(data|records|requests|rows)"\s*:\s*\[\s*(?=\{)'
)


@contextlib.contextmanager
def table_of(path: Path) -> Iterator[Table]:
    """Open a file and tell how its rows are laid out.

    Raises:
      ValueError: the content cannot be read as a table.
      OSError: the file cannot be opened.
    """
    require_regular(path)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            yield parquet_table(file)
            return
    with text_of(path) as text:
        head = text.read(_HEAD).lstrip()
    wrapped, (first, _, rest) = _WRAPPED.match(head), head.partition("\n")
    with text_of(path) as text:
        if head.startswith("["):
            yield json_values(text, "item")
        elif not head.startswith("{"):
            yield delimited(lines(text))
        elif _is_record(first) and (rest.strip() or wrapped is None):
            yield json_lines(lines(text))
        elif wrapped is not None:
            yield json_values(text, f"{wrapped[1]}.item")
        else:
            yield json_values(text, "")


def _is_record(line: str) -> bool:
    """Whether a line is a whole JSON object; a longer one, or an indented one, is not."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
