"""Finds the records of a JSON file of any size through a window that holds one record at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from editbench.errors import UserError

MAX_RECORD_BYTES = 512 * 2**20
"""A record larger than this is taken for a broken file."""

_WINDOW = 2**20
_SPACE = " \t\r\n"


class RecordScanner:
    """Walks through the file with a window that holds one record at a time."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._decoder = json.JSONDecoder()
        self._window = ""
        self._start = 0  # byte offset of the window's first character
        self._at = 0  # position in the window

    def records(self) -> Iterator[tuple[str | None, int, bytes]]:
        """Yield (category given by an outer dict or None, byte offset, bytes) of every record."""
        if self._file.read(3) != b"\xef\xbb\xbf":
            self._file.seek(0)
        self._start = self._file.tell()
        opening = self._next("a JSON list, or a dict of category to list", "[{")
        if opening == "[":
            yield from ((None, offset, data) for offset, data in self._list())
        elif self._peek() == "}":
            self._next("", "}")
        else:
            while True:
                category = self._category()
                self._next("a colon", ":")
                self._next(f"the list of category {category}", "[")
                yield from ((category, offset, data) for offset, data in self._list())
                if self._next("a comma or the end of the dict", ",}") == "}":
                    break
        if self._peek():
            raise self._error("the end of the file", repr(self._peek()))

    def _category(self) -> str:
        _, data = self._value("a category's name in quotes")
        try:
            category = json.loads(data)
        except UnicodeDecodeError as error:
            raise self._error("a category's name in UTF-8", repr(data)) from error
        if not isinstance(category, str):
            raise self._error("a category's name in quotes", repr(category))
        return category

    def _list(self) -> Iterator[tuple[int, bytes]]:
        if self._peek() == "]":
            self._next("", "]")
            return
        while True:
            yield self._value("a record")
            if self._next("a comma or the end of the list", ",]") == "]":
                return

    def _value(self, wanted: str) -> tuple[int, bytes]:
        """Read one whole JSON value; returns its byte offset and bytes."""
        if not self._peek():
            raise self._error(wanted, "the end of the file")
        while True:
            try:
                _, end = self._decoder.raw_decode(self._window, self._at)
            except RecursionError as error:
                raise self._error(wanted, "lists or objects nested too deeply") from error
            except ValueError as error:
                if len(self._window) - self._at > MAX_RECORD_BYTES or not self._read_more():
                    raise self._error(wanted, f"no whole JSON value ({error})") from error
                continue
            length = end - self._at
            if len(self._window) - end < 3 and self._read_more():
                continue  # a number could go on: the scanner takes 1 for a whole value where the window ends in 1e+
            offset, text = self._start + self._at, self._window[self._at : self._at + length]
            self._at += length
            return offset, text.encode("latin-1")

    def _next(self, wanted: str, choices: str) -> str:
        found = self._peek()
        if not found or found not in choices:
            raise self._error(wanted, repr(found) if found else "the end of the file")
        self._at += 1
        return found

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            while self._at < len(self._window) and self._window[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._read_more():
                return ""

    def _read_more(self) -> bool:
        """Drop what was read from the window and at least double what is left of it; False at the file's end."""
        rest = self._window[self._at :]
        self._start, self._at = self._start + self._at, 0
        chunk = self._file.read(max(_WINDOW, len(rest)))
        self._window = rest + chunk.decode("latin-1")
        return bool(chunk)

    def _error(self, wanted: str, found: str) -> UserError:
        return UserError(
            f"dataset.path={self._path}: at byte {self._start + self._at} found {found}, wanted {wanted}; "
            "the file must be UTF-8 JSON: a list of records, or a dict of category to such a list"
        )
