"""The benchmark file: a JSON list of records, or a dict of category to list, with images in base64 or by path.

A file of 500 MB and more is never held in memory. One pass finds each record's byte range (through a window of 1 MiB
that grows to the largest record: JSON's structure is ASCII, so decoding the window as Latin-1 keeps characters and
bytes one to one while Python's own scanner finds a record's end); the ranges go into the plan, and a rank then reads
just the records it edits, one at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from editbench.datasets.base import BadRecord, Record
from editbench.datasets.benchmark_record import RecordReader
from editbench.datasets.image_files import ImageFiles
from editbench.datasets.json_scanner import RecordScanner
from editbench.errors import UserError


class JsonFile:
    """Reads a benchmark file.

    Args:
        path: The file.
        language: `en` or `zh`: which instruction and description are used.
        on_bad_record: `stop` or `skip`.
        images: Folder that paths of images are relative to; None: that of the file.

    Raises:
        UserError: no such file.
    """

    def __init__(
        self,
        path: str,
        language: Literal["en", "zh"] = "en",
        on_bad_record: Literal["stop", "skip"] = "stop",
        images: str | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        if self.path.is_dir():
            raise UserError(
                f"dataset.path={path}: is a folder; give the benchmark file, a JSON file in it or elsewhere, or read a "
                "folder of images with dataset=folder"
            )
        if not self.path.is_file():
            hint = "; build it with: python scripts/pack_benchmark.py" if self.path.name == "demo.json" else ""
            raise UserError(f"dataset.path={path}: there is no such file{hint}")
        self.on_bad_record = on_bad_record
        self._reader = RecordReader(language, ImageFiles(Path(images) if images else self.path.parent))

    def stamp(self) -> dict[str, Any]:
        """Size in bytes and time of the last change."""
        stat = self.path.stat()
        return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}

    def scan(self) -> Iterator[Record | BadRecord]:
        """Yield all records in file order.

        Raises:
            UserError: the file is not in the format; names the byte.
        """
        for index, (category, offset, data) in enumerate(self._records()):
            yield self._reader.parse(data, [index, offset, len(data)], category)

    def read(self, locator: list[int | str]) -> bytes | list[bytes]:
        """Read the images of the record at [index, offset, length]."""
        return self._reader.read_images(self._data(locator), locator)

    def read_reference(self, locator: list[int | str]) -> bytes:
        """Read the picture of a correct result of the record at [index, offset, length]."""
        return self._reader.read_reference(self._data(locator), locator)

    def read_file(self, path: str) -> bytes:
        """Read a file that a record names by path."""
        return self._reader.read_file(path)

    def _data(self, locator: list[int | str]) -> bytes:
        _, offset, length = map(int, locator)
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def _records(self) -> Iterator[tuple[str | None, int, bytes]]:
        """Yield (category that stands outside the record, byte offset, bytes) of every record."""
        with self.path.open("rb") as file:
            yield from RecordScanner(file, self.path).records()
