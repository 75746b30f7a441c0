"""Tables of samples without their images: JSON, JSON lines, CSV or TSV, by the file's ending."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from editbench.errors import UserError
from editbench.text import kind

ENDINGS = (".jsonl", ".json", ".csv", ".tsv")
FOLDER = "_folder"
"""Name under which a row has the folder of its table."""

STEM = "_stem"
"""Name of the file name, without its ending, of a row's first image."""

KEY = "_key"
"""Name under which a row has its key, where a JSON file is a dict of rows."""

MAX_TABLE_BYTES = 512 * 2**20
"""A table is read as a whole; a larger file holds something else."""


def read_rows(path: Path) -> list[dict[str, Any] | str]:
    """Read a table.

    Returns:
        A dict for every row, or a phrase that says what is wrong with it.

    Raises:
        UserError: the file is no such table, or holds no rows.
    """
    try:
        if (size := path.stat().st_size) > MAX_TABLE_BYTES:
            raise UserError(
                f"{path}: has {size / 2**20:.0f} MiB, a table without images has at most {MAX_TABLE_BYTES // 2**20}; "
                "a JSON file with images in it is read with dataset=json_file or dataset=jsonl"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        rows = list(_delimited(path, text, "\t" if suffix == ".tsv" else ","))
    elif suffix == ".jsonl":
        rows = list(_json_lines(text))
    elif suffix == ".json":
        rows = _json(path, text)
    else:
        raise UserError(f"{path}: must end in one of {', '.join(ENDINGS)}, by which its format is known")
    if not rows:
        raise UserError(f"{path}: the table holds no rows; give another file")
    return rows


def _json(path: Path, text: str) -> list[dict[str, Any] | str]:
    """Rows of a list of objects, of a dict of key to object, or of lines that are objects."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = list(_json_lines(text))
        if lines and isinstance(lines[0], dict):
            return lines
        raise UserError(f"{path}: is no JSON: {error}") from error
    if isinstance(content, dict):
        return [{KEY: key, **row} if isinstance(row, dict) else _no_object(row) for key, row in content.items()]
    if isinstance(content, list):
        return [row if isinstance(row, dict) else _no_object(row) for row in content]
    raise UserError(f"{path}: is {kind(content)}, must be a list of objects or a dict of key to object")


def _json_lines(text: str) -> Iterator[dict[str, Any] | str]:
    for line in filter(str.strip, text.split("\n")):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield f"is no JSON: {error}"
        else:
            yield row if isinstance(row, dict) else _no_object(row)


def _delimited(path: Path, text: str, delimiter: str) -> Iterator[dict[str, Any] | str]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if None in row:
                yield f"has more values than the first line has names: {row[None]}"
            else:
                yield {name: value for name, value in row.items() if value not in (None, "")}
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}; it must be CSV with names in line 1") from error


def _no_object(row: Any) -> str:
    return f"is {kind(row)}, must be an object"
