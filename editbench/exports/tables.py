"""One row per sample with all columns, as CSV or Parquet.

Lists and mappings, and columns whose values are of several kinds, are JSON texts; what is not known is empty.
"""

import csv
import io
import json
from typing import Any

from editbench.errors import UserError
from editbench.loaded_run import LoadedRun, Row


def to_csv(run: LoadedRun) -> str:
    """Lay the rows out as CSV, names in line 1."""
    columns = _columns(run.samples)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def to_parquet(run: LoadedRun) -> bytes:
    """Lay the rows out as a Parquet file.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            'to=parquet needs pyarrow, which is not installed: pip install "editbench[parquet]", or use to=csv'
        ) from error
    columns = {}
    for name, values in _columns(run.samples).items():
        known = any(value is not None for value in values)
        columns[name] = pa.array(values, None if known else pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _columns(rows: list[Row]) -> dict[str, list[Any]]:
    """Lay rows out by columns: all names of any row, each column of one kind."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {_clean(name): _one_kind([row.get(name) for row in rows]) for name in names}


def _one_kind(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    if kinds <= {int} and any(abs(value or 0) >= 2**63 for value in values):
        return [None if value is None else str(value) for value in values]
    if len(kinds) < 2 and kinds <= {bool, int, float, str}:
        return [_clean(value) if isinstance(value, str) else value for value in values]
    return [None if value is None else _clean(json.dumps(value, ensure_ascii=False)) for value in values]


def _clean(text: str) -> str:
    """Write half surrogates, which UTF-8 cannot hold, as escapes."""
    return text.encode(errors="backslashreplace").decode()
