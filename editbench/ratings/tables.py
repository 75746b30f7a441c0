"""Scores of edits as CSV files: a judge's, and people's. docs/agreement.md documents the format."""

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editbench.errors import UserError

KEYS = ("model", "sample_id", "rater", "source", "image_sha256", "base_sha256")
"""Columns that say what a row is of; every other column of numbers holds scores."""

_NO_SCORE = ("", "null")
_LIST_SUFFIX = "_scores"
_PLAIN = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
"""A number as other programs write it: `float` also takes 1_0, and digits of other scripts."""

Cell = str | float | None


@dataclass(frozen=True)
class Table:
    """Rows of scores.

    Attributes:
        name: What errors call it.
        lines: Per row, its line in the file.
        columns: Cells by column: keys, and scores as text or numbers.
    """

    name: str
    lines: list[int]
    columns: dict[str, list[Cell]]

    def has_numbers(self, column: str) -> bool:
        """Whether any cell of a column is a score, so that it is no column of text."""
        return any(_is_number(cell) for cell in self.columns[column])

    def numbers(self, column: str) -> list[float | None]:
        """The scores of a column, None where there is none.

        Raises:
            UserError: a cell holds something else.
        """
        scores = []
        for line, cell in zip(self.lines, self.columns[column], strict=True):
            try:
                scores.append(_number(cell))
            except ValueError as error:
                raise UserError(
                    f"{self.name}, line {line}: {column} is {str(cell)[:60]!r}; must be a number, a JSON list of "
                    "numbers, or empty where there is no score"
                ) from error
        return scores

    def keys(self, column: str) -> list[str]:
        """The texts of a key column, empty ones where the table has none such."""
        return [str(cell) for cell in self.columns.get(column, [""] * len(self.lines))]


def read_table(path: Path, needed: Sequence[str]) -> Table:
    """Read a CSV file with a head line.

    Args:
        path: UTF-8, with or without byte order mark.
        needed: Columns it must have, without an empty cell.

    Raises:
        UserError: it cannot be read, or is not of this form.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            head = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read as CSV ({reason}); give a UTF-8 file with a head line") from error
    missing = [name for name in needed if name not in head]
    if missing or len(set(head)) < len(head):
        wrong = f"has no column {missing[0]!r}" if missing else "names a column twice"
        raise UserError(f"{path} {wrong}; its head line is {','.join(head)[:200]!r}, see docs/agreement.md")
    for line, row in rows:
        if len(row) != len(head):
            raise UserError(f"{path}, line {line} has {len(row)} cells, the head line {len(head)}; mend that line")
        empty = [name for name in needed if not row[head.index(name)].strip()]
        if empty:
            raise UserError(f"{path}, line {line} has no {empty[0]}; mend or remove that line")
    columns: dict[str, list[Cell]] = {name: [row[at] for _, row in rows] for at, name in enumerate(head)}
    return Table(str(path), [line for line, _ in rows], columns)


def score_columns(table: Table) -> dict[str, str]:
    """Columns that can hold scores, by the score's name: the column's, without `_scores` at its end."""
    return {name.removesuffix(_LIST_SUFFIX): name for name in table.columns if name not in KEYS}


def _is_number(cell: Cell) -> bool:
    try:
        return _number(cell) is not None
    except ValueError:
        return False


def _number(cell: Cell) -> float | None:
    """A cell's score; of a list the smallest, as VIEScore takes it (arXiv 2312.14867), and none if one lacks there."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if text in _NO_SCORE:
        return None
    values = _list(text) if text.startswith("[") else [float(text)] if _PLAIN.fullmatch(text) else [text]
    if not values or None in values:
        return None
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise ValueError(f"{text} holds something else than numbers")
    try:
        numbers = [float(value) for value in values]
    except OverflowError as error:
        raise ValueError("a whole number is too large") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{text} holds something else than finite numbers")
    return min(numbers)


def _list(text: str) -> list[Any]:
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("lists within lists") from error
    return list(values)  # a list, as it begins with a bracket
