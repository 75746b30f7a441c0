"""The benchmark file: a JSON list of records, or a dict of category to list, with images in base64.

A file of 500 MB and more is never held in memory. One pass finds each record's byte range (through a window of 1 MiB
that grows to the largest record: JSON's structure is ASCII, so decoding the window as Latin-1 keeps characters and
bytes one to one while Python's own scanner finds a record's end); the ranges go into the plan, and a rank then reads
just the records it edits, one at a time.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from editbench.datasets import BadRecord, Record
from editbench.errors import UserError

MAX_RECORD_BYTES = 512 * 2**20
"""A record larger than this is taken for a broken file."""

_WINDOW = 2**20
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = " \t\r\n"


class JsonFile:
    """Reads a benchmark file.

    Args:
        path: The file.
        language: `en` or `zh`: which instruction and description are used.
        on_bad_record: `stop` or `skip`.

    Raises:
        UserError: no such file, or another language or choice.
    """

    def __init__(self, path: str, language: str = "en", on_bad_record: str = "stop") -> None:
        self.path = Path(path).expanduser()
        if language not in ("en", "zh"):
            raise UserError(f"dataset.language={language!r}: must be en or zh")
        if on_bad_record not in ("stop", "skip"):
            raise UserError(f"dataset.on_bad_record={on_bad_record!r}: must be stop or skip")
        if not self.path.is_file():
            hint = "; build it with: python scripts/pack_benchmark.py" if self.path.name == "demo.json" else ""
            raise UserError(f"dataset.path={path}: there is no such file{hint}")
        self.on_bad_record = on_bad_record
        suffix = "_en" if language == "en" else ""
        self._instruction, self._description = f"edit_instruction{suffix}", f"original_description{suffix}"

    def stamp(self) -> dict[str, Any]:
        """Size in bytes and time of the last change."""
        stat = self.path.stat()
        return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}

    def scan(self) -> Iterator[Record | BadRecord]:
        """Yield all records in file order.

        Raises:
            UserError: the file is no JSON list of records or dict of such lists; names the byte.
        """
        with self.path.open("rb") as file:
            for index, (category, offset, data) in enumerate(_RecordScanner(file, self.path).records()):
                yield self._parse(index, data, category, offset)

    def read(self, locator: list[int]) -> Record:
        """Read the record at [index, offset, length]; the category is known from the plan then."""
        index, offset, length = locator
        with self.path.open("rb") as file:
            file.seek(offset)
            record = self._parse(index, file.read(length), "", offset)
        if isinstance(record, BadRecord):
            raise ValueError(f"{self.path}: record {index} is no longer what was planned: {record.problem}")
        return record

    def _parse(self, index: int, data: bytes, outer_category: str | None, offset: int) -> Record | BadRecord:
        try:
            fields = json.loads(data)
        except UnicodeDecodeError:
            return BadRecord(index, "?", "is not UTF-8")
        except (ValueError, RecursionError) as error:
            return BadRecord(index, "?", f"is no JSON: {error}")
        if not isinstance(fields, dict):
            return BadRecord(index, "?", f"is a {type(fields).__name__}, must be an object")
        category = outer_category if fields.get("subset") is None else fields["subset"]
        sample_id = _sample_id(fields, category, index)
        texts: dict[str, Any] = {
            "src_img_b64": fields.get("src_img_b64"),
            self._instruction: fields.get(self._instruction),
            self._description: "" if fields.get(self._description) is None else fields[self._description],
            "subset": category,
            "original_image_path": sample_id,
        }
        problems = [f"{name} {found}" for name, value in texts.items() if (found := _not_text(value))]
        if problems:
            return BadRecord(index, sample_id.encode(errors="replace").decode(), "; ".join(problems))
        source, source_error = _decode_base64(fields["src_img_b64"])
        return Record(
            sample_id=sample_id,
            category=texts["subset"],
            instruction=texts[self._instruction],
            description=texts[self._description],
            source=source,
            source_error=source_error,
            locator=[index, offset, len(data)],
        )


def _sample_id(fields: dict[str, Any], category: Any, index: int) -> str:
    """File stem of `original_image_path`, else category and index."""
    path = fields.get("original_image_path")
    if isinstance(path, str) and path.strip():
        flavour = PureWindowsPath if "\\" in path else PurePosixPath
        stem = flavour(path).stem
        if stem:
            return stem
    return f"{category}_{index:05d}" if isinstance(category, str) else f"{index:05d}"


def _not_text(value: Any) -> str:
    """What keeps a value from being text; empty if nothing does."""
    if value is None:
        return "is missing"
    if not isinstance(value, str):
        return f"is a {type(value).__name__}, must be text"
    if not value.isascii() and _SURROGATE.search(value):
        return "holds half a surrogate pair, which no file can hold"
    return ""


def _decode_base64(text: str) -> tuple[bytes, str | None]:
    """Decode plain base64 or a data URI; line breaks are allowed, junk is not."""
    prefix = _DATA_URI.match(text)
    payload = "".join(text[prefix.end() if prefix else 0 :].split())
    if not payload:
        return b"", "src_img_b64 is empty"
    try:
        return base64.b64decode(payload, validate=True), None
    except (binascii.Error, ValueError) as error:
        return b"", f"src_img_b64 is no base64: {error}"


class _RecordScanner:
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
