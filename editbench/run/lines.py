"""How the files of a run are written and read: whole or not at all, and each record with its checksum."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from editbench.errors import UserError
from editbench.run.records import Edit, Judgment, to_dict
from editbench.run.sealed_json import seal, unseal

Record = TypeVar("Record", Edit, Judgment)


class JsonLines:
    """Appends records to a JSON-lines file; on the disk when `append` returns. Rank 0 only."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        end = self._file.seek(0, os.SEEK_END)
        self._file.truncate(end - _torn_bytes(path))

    def append(self, *records: Edit | Judgment) -> None:
        """Write a line for each record through to the disk."""
        self._file.writelines(seal(to_dict(record)) + b"\n" for record in records)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path, kind: type[Record]) -> Iterator[Record]:
    """Yield the records of a JSON-lines file; a torn last line is left out.

    Raises:
        UserError: a line in the middle is damaged; names file and line.
    """
    if not path.exists():
        return
    names = {f.name for f in dataclasses.fields(kind)}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                fields = unseal(line.rstrip(b"\n"))
                yield kind(**{name: value for name, value in fields.items() if name in names})
            except (ValueError, TypeError, AttributeError) as error:
                raise UserError(f"{path}, line {number} is damaged ({error}); mend or remove that line") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); remove it and run the phase again") from error


def write_atomic(path: Path, text: str | Iterable[str]) -> None:
    """Write a file so that readers see the old or the new text, never a part, also after a power cut."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines([text] if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _torn_bytes(path: Path) -> int:
    """Bytes behind the last line end."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        start = end
        while start > 0:
            start = max(0, start - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return end - (start + newline + 1)
    return end
