"""The CSV file that ratings are written to: a line at a time, each on the disk before the next is asked for."""

import csv
import fcntl
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editbench.errors import UserError
from editbench.run.lines import sync_folder


class RatingsFile:
    """A CSV file that one process appends to; the torn end of a killed one is cut off.

    Args:
        path: Made where it is not there yet.
        columns: Its head line.

    Raises:
        UserError: it cannot be written to, another process writes to it, or it has other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self._columns = list(columns)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{path} is being written to by another process; end it, or give another file as out=…"
            ) from error
        except OSError as error:
            raise UserError(f"{path} cannot be written to ({error.strerror}); give another file as out=…") from error
        self._ends: list[int] = []
        self.rows = self._read()

    def append(self, row: dict[str, Any]) -> None:
        """Write a row through to the disk; on an error the file is as before."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._write([row[name] for name in self._columns])
        except OSError:
            self._file.truncate(end)
            raise
        self._ends.append(end)

    def undo(self) -> None:
        """Remove the last row that this process appended; there must be one."""
        self._file.truncate(self._ends.pop())
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; another process may write to it then."""
        self._file.close()

    def _read(self) -> list[dict[str, str]]:
        """Read the rows there are; begin the file where it is new."""
        self._file.seek(0)
        data = self._file.readall()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        try:
            rows = list(csv.reader(io.StringIO(data[:whole].decode("utf-8-sig"), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"{self.path} cannot be read as CSV ({error}); mend it, or give another file as out=…"
            ) from error
        if not rows:
            self._write(self._columns)
            sync_folder(self.path.parent)
            return []
        if rows[0] != self._columns:
            raise UserError(
                f"{self.path} has the columns {','.join(rows[0])[:200]!r}, not {','.join(self._columns)!r}; "
                "give another file as out=…"
            )
        return [dict(zip(self._columns, row, strict=False)) for row in rows[1:]]

    def _write(self, cells: Sequence[Any]) -> None:
        line = io.StringIO(newline="")
        csv.writer(line, lineterminator="\n").writerow(cells)
        rest = line.getvalue().encode()
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
