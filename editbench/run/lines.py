"""How the files of a run are written and read: whole or not at all, and each record with its checksum."""

import contextlib
import dataclasses
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from editbench.errors import UserError
from editbench.run.records import Control, Edit, Judgment, Measurement, to_dict
from editbench.run.sealed_json import seal, unseal

LEFT_OVER_S = 3600.0
"""Age from which a temporary file is no longer being written: its process was killed."""

Record = TypeVar("Record", Edit, Judgment, Control, Measurement)


class JsonLines:
    """Appends records to a JSON-lines file; on the disk when `append` returns. Rank 0 only."""

    def __init__(self, path: Path) -> None:
        is_new = not path.exists()
        self._file = path.open("a+b")
        end = self._file.seek(0, os.SEEK_END)
        self._file.truncate(end - _torn_bytes(path))
        if is_new:
            sync_folder(path.parent)

    def append(self, *records: Edit | Judgment | Measurement) -> None:
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
                fields = unseal(line)
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


def write_atomic(path: Path, content: str | Iterable[bytes]) -> None:
    """Write a file so that readers see the old or the new content, never a part, also after a power cut.

    Any number of processes may do so at once; the last one counts.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.writelines([content.encode(errors="backslashreplace")] if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether the file is one that `write_atomic` writes before it renames it."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def remove_left_over(folder: Path) -> None:
    """Remove temporary files of processes that were killed while they wrote."""
    for path in filter(is_temporary, folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFT_OVER_S:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """See to it that a power cut does not undo the making or renaming of a file in the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network file systems cannot do this for a folder
        os.fsync(descriptor)
    os.close(descriptor)


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
