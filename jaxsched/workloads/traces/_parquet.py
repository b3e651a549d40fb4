"""Tables of Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from jaxsched.workloads.traces._bytes import most_expanded
from jaxsched.workloads.traces._errors import reason
from jaxsched.workloads.traces._table import Row, Rows, Table

MAGIC = b"PAR1"
_BATCH = 2**14  # rows
_BYTES_PER_ROW = 8


def parquet_table(file: Any) -> Table:
    """Read the footer and give the table.

    Raises:
      ValueError: the file is damaged.
      ImportError: pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError('Parquet files need pyarrow: pip install "jaxsched[traces]"') from error

    def damaged(error: BaseException) -> ValueError:
        return ValueError(f"is not an intact Parquet file: {reason(error)}")

    def rows(wanted: Sequence[int], _: str) -> Rows:
        def each() -> Iterator[Row]:
            number = 0
            try:
                names = [schema.names[position] for position in wanted]
                for batch in source.iter_batches(_BATCH, columns=names, use_threads=False):
                    for cells in zip(*(_cells(batch.column(name)) for name in names), strict=True):
                        number += 1
                        yield number, cells
            except Exception as error:  # damage can make pyarrow raise anything
                raise damaged(error) from error

        return Rows("row", each())

    try:
        source = parquet.ParquetFile(file)
        schema = source.schema_arrow
        expanded = _expanded(source.metadata)
    except Exception as error:  # damage can make pyarrow raise anything
        raise damaged(error) from error
    limit = most_expanded(os.fstat(file.fileno()).st_size)
    if expanded > limit:
        raise ValueError(
            f"expands to {expanded} bytes, over {limit}; write it anew without compression if it "
            "is no mistake"
        )
    return Table(schema.names, rows)


def _expanded(metadata: Any) -> int:
    """Bytes of two numbers a row, or of the largest group of rows if those are more.

    Equal numbers are stored once, so groups alone say little. Of columns nothing is asked: where
    their metadata are damaged, pyarrow ends the process.
    """
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    sizes = (group.total_byte_size for group in groups)
    return max(_BYTES_PER_ROW * metadata.num_rows, *sizes, 0)


def _cells(column: Any) -> list[Any]:
    """Take a column as Python values, times as date-times to the microsecond."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        try:
            return column.to_pylist()
        except (ValueError, OverflowError):  # a date that no calendar has
            return [_date_or_text(cell) for cell in column]
    return column.to_pylist()


def _date_or_text(cell: Any) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        return f"{cell.value} us since 1970"
