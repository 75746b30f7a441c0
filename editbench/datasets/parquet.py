"""Datasets with the images in a column: Parquet, and Arrow files and streams as Hugging Face's libraries write them."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from editbench.config.annotations import Count
from editbench.datasets.base import BadRecord, Record, one_or_all
from editbench.datasets.columns import Columns, Names, Row
from editbench.datasets.image_files import ImageFiles
from editbench.datasets.masks import MASK, mask_problem
from editbench.errors import UserError

if TYPE_CHECKING:
    from editbench.datasets.column_files import ColumnFile


class Parquet:
    """Reads images from a column of files.

    The scan reads no pictures. `read` keeps the last row group that it needed, since that is what a picture is
    compressed with; samples in their order read each group once.

    Args:
        path: A file, or a folder with files in it or in folders of it.
        files: Pattern of files in the folder, such as `data/test-*.parquet`; None: all `.parquet`, else all `.arrow`.
        fields: Names of columns, as in `columns.py`; None for the image: the only column with pictures.
        images: Folder of pictures that stand in the column by path alone; None: `path`.
        category: Category of rows that have none; None: `general`.
        language: Only rows in this language.
        on_bad_record: `stop` or `skip`.
        max_images: Rows with more source images are bad records.

    Raises:
        UserError: pyarrow is not installed, there is no such file, or settings that cannot be.
    """

    def __init__(
        self,
        path: str,
        files: str | None = None,
        fields: Names | None = None,
        images: str | None = None,
        category: str | None = None,
        language: str | None = None,
        on_bad_record: Literal["stop", "skip"] = "stop",
        max_images: Count | None = None,
    ) -> None:
        self.on_bad_record = on_bad_record
        given = Path(path).expanduser()
        self._root = given.parent if given.is_file() else given
        self._paths = [given] if given.is_file() else _find(given, files)
        self._columns = Columns(fields, category, language, max_images)
        self._images = ImageFiles(Path(images) if images else self._root)
        self._opened: dict[int, ColumnFile] = {}
        self._last: tuple[int, int, list[Any]] | None = None
        self._lock = threading.Lock()
        _require_pyarrow()

    def stamp(self) -> dict[str, Any]:
        """Size in bytes and time of the last change of every file."""
        stats = {str(path.relative_to(self._root)): path.stat() for path in self._paths}
        return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}

    def scan(self) -> Iterator[Record | BadRecord]:
        """Yield a record for every row.

        Raises:
            UserError: a file cannot be read, or has no column of pictures, or several and none is named.
        """
        records = index = 0
        for number, path in enumerate(self._paths):
            try:
                for row in self._rows(number, index):
                    index += 1
                    if self._columns.wants(row.values):
                        records += 1
                        yield from self._columns.records(row)
            except ValueError as error:
                raise UserError(f"dataset.path: {path} {error}") from error
        self._columns.check_scan(records)

    def read(self, locator: list[int | str]) -> bytes | list[bytes]:
        """Read the images at [file, group, row of the group]."""
        number, group, row = map(int, locator)
        try:
            with self._lock:
                if self._last is None or self._last[:2] != (number, group):
                    file = self._open(number)
                    names = self._picture_columns(file)
                    self._last = (number, group, [file.pictures(group, name) for name in names])
                columns = [column[row].as_py() for column in self._last[2]]
        except (OSError, ValueError, IndexError, StopIteration) as error:
            raise ValueError(f"{self._paths[number]} {error}") from error
        found = [picture for column in columns for picture in (column if isinstance(column, list) else [column])]
        pictures = [self._file_of(picture) for picture in found if picture is not None]
        if not pictures:
            raise ValueError("the row has no image")
        return one_or_all(pictures)

    def _file_of(self, picture: Any) -> bytes:
        data = picture.get("bytes") if isinstance(picture, dict) else picture
        if isinstance(picture, dict) and not data and picture.get("path"):
            return self._images.read(picture["path"])
        if not isinstance(data, bytes):
            raise ValueError("the row has no image")
        return data

    def read_file(self, path: str) -> bytes:
        """Read a file that a row names by path, below the folder `images`."""
        return self._images.read(path)

    def _rows(self, number: int, index: int) -> Iterator[Row]:
        file = self._open(number)
        places = ([number, group, row] for group, size in enumerate(file.group_sizes()) for row in range(size))
        pairs = zip(places, file.rows(self._picture_columns(file)), strict=True)
        for position, (place, (values, paths)) in enumerate(pairs, index):
            problem = "" if paths else "has no image"
            wrong_mask = mask_problem(values.get(MASK), self._images)
            yield Row(position, values, [path or "" for path in paths], list(place), problem, wrong_mask)

    def _open(self, number: int) -> "ColumnFile":
        from editbench.datasets.column_files import open_columns

        if number not in self._opened:
            self._opened = {number: open_columns(self._paths[number])}
        return self._opened[number]

    def _picture_columns(self, file: "ColumnFile") -> list[str]:
        there = file.picture_columns
        if self._columns.reference_field in there:
            raise ValueError(
                f"has pictures in {self._columns.reference_field}; dataset.fields.reference names a column of paths, "
                "below dataset.images"
            )
        names = self._columns.images or (there if len(there) == 1 else [])
        unknown = [name for name in names if name not in there]
        if unknown or not names:
            lack = f"no column {unknown[0]!r}" if unknown else "which column holds the source image is not known"
            raise ValueError(f"has pictures in {', '.join(there) or 'no column'}, {lack}; set dataset.fields.image=…")
        return names


def _find(folder: Path, pattern: str | None) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"dataset.path={folder}: there is no such file or folder")
    try:
        for wanted in [pattern] if pattern else ["**/*.parquet", "**/*.arrow"]:
            found = sorted(path for path in folder.glob(wanted) if path.is_file() and path.name[:6] != "cache-")
            if found:
                return found
    except (NotImplementedError, ValueError) as error:
        raise UserError(f"dataset.files={pattern}: {error}; give a pattern relative to dataset.path") from error
    key = "dataset.path" if pattern is None else "dataset.files"
    raise UserError(f"{key}: {folder} holds no {pattern or '.parquet or .arrow file'}; give another")


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        need = 'Parquet and Arrow files need pyarrow; install it with: pip install "editbench[parquet]"'
        raise UserError(need) from error
