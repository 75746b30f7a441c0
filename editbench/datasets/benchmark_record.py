"""A record of the benchmark format: a JSON object with an image in base64 or the path of one, or a list of either."""

import base64
import binascii
import json
import re
from typing import Any, Literal

from editbench.datasets.base import NO_CATEGORY, BadRecord, Record, one_or_all
from editbench.datasets.extra import extra_fields
from editbench.datasets.ids import image_ids
from editbench.datasets.image_files import ImageFiles
from editbench.datasets.masks import MASK, mask_problem
from editbench.text import kind

FOLLOWS = "follows"
"""Field with the id of the record that a record follows in a chain."""

REWRITTEN = "rewritten_instruction"
"""Field with the instruction as the editor is given it, where that is not as it stands."""

REFERENCE_TEXT, REFERENCE_PATH = "reference_img_b64", "reference_image_path"
"""Fields with a picture of a correct result: in base64, and where that is missing the path of one."""

_DATA_URI = re.compile(r"data:[^,]{0,200};base64,")
_SURROGATE = re.compile("[\ud800-\udfff]")


class RecordReader:
    """Makes records of JSON objects.

    Args:
        language: `en` or `zh`: which instruction and description are used.
        images: Where images named by path lie.
    """

    def __init__(self, language: Literal["en", "zh"], images: ImageFiles) -> None:
        self._images = images
        suffix = "_en" if language == "en" else ""
        self._instruction, self._description = f"edit_instruction{suffix}", f"original_description{suffix}"

    def parse(self, data: bytes, locator: list[int | str], outer_category: str | None = None) -> Record | BadRecord:
        """Read one JSON object; `locator` begins with its index."""
        fields = _parse_object(data, int(locator[0]))
        if isinstance(fields, BadRecord):
            return fields
        record = self._record(fields, locator, outer_category)
        if isinstance(record, BadRecord):
            return record
        wrong = mask_problem(record.extra.get(MASK), self._images) or self._reference_problem(fields)
        return BadRecord(int(locator[0]), record.sample_id, wrong) if wrong else record

    def _record(
        self, fields: dict[str, Any], locator: list[int | str], outer_category: str | None = None
    ) -> Record | BadRecord:
        """Make a record, whatever its mask and reference are: one that is gone since costs no picture."""
        index = int(locator[0])
        category = outer_category if fields.get("subset") is None else fields["subset"]
        category = NO_CATEGORY if category is None else category
        sample_id, repeat_id = self._ids(fields, category, index)
        paths = _listed(fields.get("original_image_path"))
        texts: dict[str, Any] = {
            self._instruction: fields.get(self._instruction),
            self._description: "" if fields.get(self._description) is None else fields[self._description],
            "subset": category,
            "id" if _has(fields, "id") else "original_image_path": sample_id,
        }
        follows = None if fields.get(FOLLOWS) == "" else fields.get(FOLLOWS)
        if follows is not None:
            texts[FOLLOWS] = str(follows) if type(follows) is int else follows
        if fields.get(REWRITTEN) not in (None, ""):
            texts[REWRITTEN] = fields[REWRITTEN]
        problems = [self._image_problem(fields, paths) if follows is None else ""]
        problems += [f"{name} {found}" if (found := not_text(value)) else "" for name, value in texts.items()]
        if any(problems):
            return BadRecord(index, _writable(sample_id), "; ".join(filter(None, problems)))
        inside = follows is None and _has(fields, "src_img_b64")
        source, source_error = _decode(_listed(fields["src_img_b64"])) if inside else (None, None)
        reference = _reference(fields)
        return Record(
            sample_id=sample_id,
            category=texts["subset"],
            instruction=texts[self._instruction],
            description=texts[self._description],
            source=source,
            source_error=source_error,
            locator=locator,
            repeat_id=repeat_id,
            extra=extra_fields(
                fields, {"src_img_b64", FOLLOWS, REFERENCE_TEXT, REFERENCE_PATH, *texts} - {"original_image_path"}
            ),
            follows=texts.get(FOLLOWS),
            reference=str(fields[REFERENCE_PATH]) if reference == REFERENCE_PATH else reference,
            rewritten=texts.get(REWRITTEN),
        )

    def read_images(self, data: bytes, locator: list[int | str]) -> bytes | list[bytes]:
        """Read the encoded image of one JSON object; of several a list.

        Raises:
            ValueError: it cannot be had, or the object is no longer a record.
        """
        fields = _planned_object(data, locator)
        record = self._record(fields, locator)
        if isinstance(record, BadRecord):
            raise _no_longer(record)
        if record.source_error:
            raise ValueError(record.source_error)
        if record.source is not None:
            return record.source
        return one_or_all([self._images.read(path) for path in _listed(fields["original_image_path"])])

    def read_reference(self, data: bytes, locator: list[int | str]) -> bytes:
        """Read the encoded picture of a correct result of one JSON object.

        Raises:
            ValueError: it cannot be had, or the object is no longer a record with one.
        """
        fields = _planned_object(data, locator)
        name = _reference(fields)
        if name is None:
            raise ValueError(f"the record has neither {REFERENCE_TEXT} nor {REFERENCE_PATH} any more")
        if problem := self._reference_problem(fields):
            raise ValueError(problem)
        return decode_base64(fields[name], name)[0] if name == REFERENCE_TEXT else self._images.read(fields[name])

    def read_file(self, path: str) -> bytes:
        """Read a file that a record names by path; raises ValueError."""
        return self._images.read(path)

    def _ids(self, fields: dict[str, Any], category: Any, index: int) -> tuple[Any, str | None]:
        """The record's own id as it stands there, or one made of its image's path, and the one in its place."""
        if _has(fields, "id"):
            return str(fields["id"]) if type(fields["id"]) is int else fields["id"], None
        paths = _listed(fields.get("original_image_path"))
        if all(isinstance(path, str) for path in paths):
            stem, repeat_id = image_ids(paths, str(fields.get(self._instruction)))
            if stem:
                return stem, repeat_id
        return f"{category}_{index:05d}" if isinstance(category, str) else f"{index:05d}", None

    def _reference_problem(self, fields: dict[str, Any]) -> str:
        """What keeps a record's reference from being had; empty if nothing is known to, or it has none."""
        name = _reference(fields)
        if name is None:
            return ""
        if problem := not_text(fields[name]):
            return f"{name} {problem}"
        if name == REFERENCE_TEXT:
            return decode_base64(fields[name], name)[1] or ""
        try:
            self._images.find(fields[name])
        except ValueError as error:
            return f"{name}: {error}"
        return ""

    def _image_problem(self, fields: dict[str, Any], paths: list[Any]) -> str:
        if _has(fields, "src_img_b64"):
            found = next(filter(None, map(not_text, _listed(fields["src_img_b64"]) or [None])), "")
            return f"src_img_b64 {found}" if found else ""
        if not paths or not all(isinstance(path, str) and path.strip() for path in paths):
            return "src_img_b64 is missing, and so is the path of an image in original_image_path"
        try:
            for path in paths:
                self._images.find(path)
        except ValueError as error:
            return f"src_img_b64 is missing, and original_image_path does not help: {error}"
        return ""


def not_text(value: Any) -> str:
    """What keeps a value from being text; empty if nothing does."""
    if value is None:
        return "is missing"
    if not isinstance(value, str):
        return f"is {kind(value)}, must be text"
    if not value.isascii() and _SURROGATE.search(value):
        return "holds half a surrogate pair, which no file can hold"
    return ""


def decode_base64(text: str, field: str = "src_img_b64") -> tuple[bytes, str | None]:
    """Decode plain base64 or a data URI; line breaks are allowed, junk is not.

    Args:
        text: What the field holds.
        field: Its name, for what is said.

    Returns:
        The bytes, and why there are none.
    """
    prefix = _DATA_URI.match(text)
    payload = "".join(text[prefix.end() if prefix else 0 :].split())
    if not payload:
        return b"", f"{field} is empty"
    try:
        return base64.b64decode(payload, validate=True), None
    except (binascii.Error, ValueError) as error:
        return b"", f"{field} is no base64: {error}"


def _decode(texts: list[str]) -> tuple[bytes | list[bytes], str | None]:
    """Decode one text or several; with one that cannot be there is none."""
    found = [decode_base64(text) for text in texts]
    error = next(
        (f"{error} (image {n})" if len(found) > 1 else error for n, (_, error) in enumerate(found, 1) if error), None
    )
    return (b"", error) if error else (one_or_all([data for data, _ in found]), None)


def _reference(fields: dict[str, Any]) -> str | None:
    """Name of the field that holds a record's reference; None without one, which an empty text is too."""
    return next((name for name in (REFERENCE_TEXT, REFERENCE_PATH) if fields.get(name) not in (None, "")), None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _parse_object(data: bytes, index: int) -> dict[str, Any] | BadRecord:
    try:
        fields = json.loads(data)
    except UnicodeDecodeError:
        return BadRecord(index, "?", "is not UTF-8")
    except (ValueError, RecursionError) as error:
        return BadRecord(index, "?", f"is no JSON: {error}")
    if not isinstance(fields, dict):
        return BadRecord(index, "?", f"is {kind(fields)}, must be an object")
    return fields


def _planned_object(data: bytes, locator: list[int | str]) -> dict[str, Any]:
    fields = _parse_object(data, int(locator[0]))
    if isinstance(fields, BadRecord):
        raise _no_longer(fields)
    return fields


def _no_longer(record: BadRecord) -> ValueError:
    return ValueError(f"record {record.index} is no longer what was planned: {record.problem}")


def _has(fields: dict[str, Any], name: str) -> bool:
    return fields.get(name) is not None


def _writable(sample_id: Any) -> str:
    return str(sample_id).encode(errors="replace").decode()
