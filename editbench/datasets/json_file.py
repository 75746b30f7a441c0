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
from typing import Any, Literal

from editbench.datasets.base import BadRecord, Record
from editbench.datasets.json_scanner import RecordScanner
from editbench.errors import UserError

_DATA_URI = re.compile(r"data:[^,]{0,200};base64,")
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonFile:
    """Reads a benchmark file.

    Args:
        path: The file.
        language: `en` or `zh`: which instruction and description are used.
        on_bad_record: `stop` or `skip`.

    Raises:
        UserError: no such file.
    """

    def __init__(
        self, path: str, language: Literal["en", "zh"] = "en", on_bad_record: Literal["stop", "skip"] = "stop"
    ) -> None:
        self.path = Path(path).expanduser()
        if self.path.is_dir():
            raise UserError(
                f"dataset.path={path}: is a folder; give the benchmark file, a JSON file in it or elsewhere"
            )
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
            for index, (category, offset, data) in enumerate(RecordScanner(file, self.path).records()):
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
