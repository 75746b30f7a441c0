"""A folder of images with a table that says what to do with them: that of a Hugging Face imagefolder, or any other."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from editbench.config.annotations import Count
from editbench.datasets.base import BadRecord, Record, one_or_all
from editbench.datasets.columns import Columns, Names, Row
from editbench.datasets.image_files import ImageFiles
from editbench.datasets.masks import MASK, mask_problem
from editbench.datasets.tables import ENDINGS, FOLDER, read_rows
from editbench.errors import UserError

_IMAGE_NAMES = ("file_name", "image")


class Folder:
    """Reads images that a table names.

    Args:
        path: The folder, or the table in it.
        table: Pattern of tables in the folder, such as `*/annotation.json`; None: `metadata.jsonl` or `metadata.csv`
            there or in folders of it, else the only table in it.
        images: Folder that paths of images are relative to; None: that of their table.
        fields: Names of the table's fields, as in `columns.py`; None for the image: `file_name`, else `image`, a path
            or a list of them. Rows also have `_folder`, the table's folder, and `_key` where a JSON table is a dict of
            rows.
        category: Category of rows that have none; None: `general`.
        language: Only rows in this language.
        on_bad_record: `stop` or `skip`.
        max_images: Rows with more source images are bad records.

    Raises:
        UserError: no such folder or table, or settings that cannot be.
    """

    def __init__(
        self,
        path: str,
        table: str | None = None,
        images: str | None = None,
        fields: Names | None = None,
        category: str | None = None,
        language: str | None = None,
        on_bad_record: Literal["stop", "skip"] = "stop",
        max_images: Count | None = None,
    ) -> None:
        self.on_bad_record = on_bad_record
        given = Path(path).expanduser()
        if not given.exists():
            raise UserError(f"dataset.path={path}: there is no such folder or table")
        self._root = given.parent if given.is_file() else given
        self._tables = [given] if given.is_file() else _find_tables(given, table)
        self._columns = Columns(fields, category, language, max_images)
        self._together = images is not None
        self._images = ImageFiles(Path(images) if images else self._root)

    def stamp(self) -> dict[str, Any]:
        """Size and time of the last change of every table; digest of the same of all images."""
        tables = {str(file.relative_to(self._root)): _state(file) for file in self._tables}
        rows = [row for row in self._rows() if isinstance(row, Row)]
        paths = [
            path for row in rows for path in (*row.images, self._columns.reference(row.values), row.values.get(MASK))
        ]
        images = {path: self._images.state(path) for path in paths if isinstance(path, str)}
        return {"tables": tables, "images": hashlib.sha256(json.dumps(images).encode()).hexdigest()}

    def scan(self) -> Iterator[Record | BadRecord]:
        """Yield a record for every row.

        Raises:
            UserError: a table cannot be read.
        """
        records = 0
        for row in self._rows():
            if isinstance(row, BadRecord):
                yield row
            elif self._columns.wants(row.values):
                records += 1
                yield from self._columns.records(row)
        self._columns.check_scan(records)

    def read(self, locator: list[int | str]) -> bytes | list[bytes]:
        """Read the images at [path, …]."""
        return one_or_all([self._images.read(str(path)) for path in locator])

    def read_file(self, path: str) -> bytes:
        """Read a file that a row names by path."""
        return self._images.read(path)

    def _rows(self) -> Iterator[Row | BadRecord]:
        index = 0
        for table in self._tables:
            folder = table.parent.relative_to(self._root)
            for values in read_rows(table):
                if isinstance(values, str):
                    yield BadRecord(index, "?", values)
                else:
                    yield self._row(index, self._placed({FOLDER: folder.as_posix(), **values}))
                index += 1

    def _row(self, index: int, values: dict[str, Any]) -> Row:
        paths, problem = self._image_paths(values)
        wrong_mask = mask_problem(values.get(MASK), self._images)
        if problem:
            return Row(index, values, [], [], problem, wrong_mask)
        inside = self._together or values[FOLDER] == "."
        placed = paths if inside else [f"{values[FOLDER]}/{path}" for path in paths]
        reference = self._columns.reference(values)
        try:
            for path in [*placed, *([reference] if isinstance(reference, str) else [])]:
                self._images.find(path)
        except ValueError as error:
            problem = str(error)
        return Row(index, values, placed, list(placed), problem, wrong_mask)

    def _placed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Place a row's mask and reference as its image is placed."""
        if self._together or values[FOLDER] == ".":
            return values
        paths = {name: values.get(name) for name in (MASK, self._columns.reference_field) if name}
        return values | {
            name: f"{values[FOLDER]}/{path}" for name, path in paths.items() if isinstance(path, str) and path
        }

    def _image_paths(self, values: Mapping[str, Any]) -> tuple[list[str], str]:
        """The paths of a row's images as its table has them, and what is wrong with them."""
        there = [name for name in self._columns.images or _IMAGE_NAMES if values.get(name) is not None]
        if not self._columns.images:
            there = there[:1]
        paths: list[str] = []
        for found in (values[name] for name in there):
            several = found if isinstance(found, list) and found else [found]
            if not all(isinstance(path, str) and path.strip() for path in several):
                return [], self._no_path(f"is {json.dumps(found, default=str)[:40]}, must be a path")
            paths += several
        return (paths, "") if paths else ([], self._no_path("is missing"))

    def _no_path(self, what: str) -> str:
        names = " or ".join(self._columns.images or _IMAGE_NAMES)
        return f"{names} {what} (name the image's field with dataset.fields.image=…)"


def _find_tables(folder: Path, pattern: str | None) -> list[Path]:
    if pattern is not None:
        tables = _matching(folder, pattern)
        if not tables:
            raise UserError(f"dataset.table={pattern}: there is no such file in {folder}")
        return tables
    for pattern in ("metadata.jsonl", "metadata.csv", "*/metadata.jsonl", "*/metadata.csv"):
        if tables := _matching(folder, pattern):
            return tables
    tables = [file for ending in ENDINGS for file in _matching(folder, f"*{ending}")]
    if len(tables) != 1:
        names = ", ".join(table.name for table in tables[:5]) or f"none (*{', *'.join(ENDINGS)})"
        raise UserError(
            f"dataset.path={folder}: must hold metadata.jsonl or one table, found {names}; name it with dataset.table=…"
        )
    return tables


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(file for file in folder.glob(pattern) if file.is_file())
    except (NotImplementedError, ValueError) as error:
        raise UserError(f"dataset.table={pattern}: {error}; give a pattern relative to dataset.path") from error


def _state(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]
