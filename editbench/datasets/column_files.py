"""Parquet and Arrow files with pictures in a column; needs pyarrow (`pip install "editbench[parquet]"`)."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

Paths = list[str | None]
"""Paths of a row's pictures as the file has them, None for a picture without one; empty for a row without pictures."""

_FAILURES = (pa.ArrowException, OSError, ValueError, KeyError)


class BrokenFileError(ValueError):
    """A file that is not, or no longer, what its name says."""


class ColumnFile(Protocol):
    """A file of rows in groups."""

    picture_columns: list[str]

    def rows(self, pictures: list[str]) -> Iterator[tuple[dict[str, Any], Paths]]:
        """Yield the fields of every row that hold no bytes, and the paths of its pictures, column by column."""
        ...

    def group_sizes(self) -> Iterator[int]:
        """Yield the number of rows of every group, in the order of `rows`."""
        ...

    def pictures(self, group: int, picture: str) -> Any:
        """Read the pictures of one group: an Arrow array with a value for every row."""
        ...


def open_columns(path: Path) -> ColumnFile:
    """Open a file, by its ending.

    Raises:
        BrokenFileError: it cannot be read; says why in one phrase.
    """
    with path.open("rb") as file:
        if file.read(30).startswith(b"version https://git-lfs"):
            raise BrokenFileError("is a pointer of Git LFS, not the file itself; fetch it with: git lfs pull")
    with told(path):
        return ParquetColumns(path) if path.suffix == ".parquet" else ArrowColumns(path)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises on a broken file into one phrase."""
    try:
        yield
    except BrokenFileError:
        raise
    except _FAILURES as error:
        kind = "Parquet" if path.suffix == ".parquet" else "Arrow"
        reason = " ".join(str(error).split())[:200]
        raise BrokenFileError(f"cannot be read as {kind}: {reason}; it may be truncated, fetch it again") from error


class ParquetColumns:
    """A Parquet file; its groups are row groups, and a group's pictures are decompressed as a whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, pq.ParquetFile(path)
        self.picture_columns = [field.name for field in self._file.schema_arrow if _holds_bytes(field.type)]

    def rows(self, pictures: list[str]) -> Iterator[tuple[dict[str, Any], Paths]]:
        """Read the other columns and, of pictures, the paths alone."""
        leaves = [self._file.schema.column(i).path for i in range(len(self._file.schema))]
        paths = {
            name: [leaf for leaf in leaves if leaf.startswith(f"{name}.") and leaf.endswith(".path")]
            for name in pictures
        }
        columns = [name for name in self._file.schema_arrow.names if name not in self.picture_columns]
        for group in range(self._file.num_row_groups):
            with told(self._path):
                rows = self._file.read_row_group(
                    group, columns=[*columns, *itertools.chain(*paths.values())]
                ).to_pylist()
            count = self._file.metadata.row_group(group).num_rows
            for row in rows or [{} for _ in range(count)]:
                found = [row.pop(name, None) if paths[name] else {} for name in pictures]
                yield row, _paths(found)

    def group_sizes(self) -> Iterator[int]:
        """As the file's footer has them."""
        return (self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups))

    def pictures(self, group: int, picture: str) -> Any:
        """Read one column of one row group."""
        with told(self._path):
            return self._file.read_row_group(group, columns=[picture]).column(picture)


class ArrowColumns:
    """An Arrow file or stream, mapped into memory; its groups are record batches."""

    def __init__(self, path: Path) -> None:
        self._path = path
        schema = self._open().schema
        self.picture_columns = [field.name for field in schema if _holds_bytes(field.type)]
        self._columns = [name for name in schema.names if name not in self.picture_columns]

    def rows(self, pictures: list[str]) -> Iterator[tuple[dict[str, Any], Paths]]:
        """Convert the other columns and, of pictures, the paths alone."""
        for batch in self._batches():
            found = zip(*(_without_bytes(batch.column(name)) for name in pictures), strict=True)
            rows = batch.select(self._columns).to_pylist() if self._columns else [{} for _ in range(batch.num_rows)]
            yield from zip(rows, map(_paths, found), strict=True)

    def group_sizes(self) -> Iterator[int]:
        """By going through the batches, of which nothing is copied."""
        return (batch.num_rows for batch in self._batches())

    def pictures(self, group: int, picture: str) -> Any:
        """Find one column of one batch."""
        return next(itertools.islice(self._batches(), group, None)).column(picture)

    def _open(self) -> Any:
        source = pa.memory_map(str(self._path))
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        return ipc.open_file(source) if is_file else ipc.open_stream(source)

    def _batches(self) -> Iterator[Any]:
        with told(self._path):
            reader = self._open()
            if hasattr(reader, "get_batch"):
                yield from map(reader.get_batch, range(reader.num_record_batches))
            else:
                yield from reader


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _without_bytes(pictures: Any) -> list[Any]:
    """Pictures as rows have them, with the path alone of each."""
    if pa.types.is_struct(pictures.type):
        has_path = pictures.type.get_field_index("path") >= 0
        paths = pc.struct_field(pictures, "path").to_pylist() if has_path else [None] * len(pictures)
        there = pictures.is_valid().to_pylist()
        return [{"path": path} if valid else None for path, valid in zip(paths, there, strict=True)]
    if pa.types.is_list(pictures.type) or pa.types.is_large_list(pictures.type):
        return [None if n is None else [{"path": None}] * n for n in pc.list_value_length(pictures).to_pylist()]
    return [{} if there else None for there in pictures.is_valid().to_pylist()]


def _paths(columns: Iterable[Any]) -> Paths:
    """Paths of a row's pictures, from what is left of them in each column without their bytes."""
    found = [picture for column in columns for picture in (column if isinstance(column, list) else [column])]
    return [picture.get("path") for picture in found if picture is not None]
