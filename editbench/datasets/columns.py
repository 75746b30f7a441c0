"""Which field of a table's row is what: settings that make a record of a row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from editbench.datasets.base import NO_CATEGORY, BadRecord, Record
from editbench.datasets.benchmark_record import not_text
from editbench.datasets.extra import extra_fields
from editbench.datasets.ids import image_ids
from editbench.datasets.tables import FOLDER, KEY, STEM
from editbench.errors import UserError

Names = dict[str, str | list[str] | None]
"""Names of fields by what they hold: image, instruction, category, id, description, language, follows, reference (the
path of a picture of a correct result, for the judge), rewritten (the instruction as the editor is given it). Several
names of an id make it up, with slashes between; several of images hold a source image each, in order, or a list of
them; several of instructions hold the turns of a chain; of several descriptions the first counts that a row has."""

DEFAULTS: Names = {
    "image": None,
    "instruction": "instruction",
    "category": "category",
    "id": "id",
    "description": "description",
    "language": None,
    "follows": None,
    "reference": None,
    "rewritten": None,
}


_SEVERAL = ("id", "image", "instruction", "description")


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        index: Its position in the dataset.
        values: Its fields.
        images: Paths of its images as the dataset writes them, an empty text for one without.
        locator: Where its images are.
        problem: What is wrong with its images; empty if nothing is known to be.
        mask_problem: What is wrong with its mask; empty if nothing is, or it has none.
    """

    index: int
    values: Mapping[str, Any]
    images: list[str]
    locator: list[int | str]
    problem: str = ""
    mask_problem: str = ""


class Columns:
    """Makes records of rows.

    Args:
        names: What is called otherwise than in `DEFAULTS`.
        category: Category of rows that have none.
        language: Only rows in this language; None: all.
        max_images: Rows with more source images are bad records; None: there is no limit.

    Raises:
        UserError: a name that cannot be.
    """

    def __init__(
        self, names: Names | None, category: str | None, language: str | None, max_images: int | None = None
    ) -> None:
        unknown = set(names or {}) - set(DEFAULTS)
        if unknown:
            raise UserError(f"dataset.fields: {sorted(unknown)[0]!r} is none of {', '.join(DEFAULTS)}")
        self._names = DEFAULTS | (names or {})
        lists = [what for what, name in self._names.items() if isinstance(name, list) and what not in _SEVERAL]
        if lists:
            raise UserError(
                f"dataset.fields.{lists[0]}: must be one name; several can be those of {', '.join(_SEVERAL)}"
            )
        whole = next((what for what in ("reference", "rewritten") if self._names[what] is not None), None)
        if whole and isinstance(self._names["instruction"], list):
            raise UserError(f"dataset.fields.{whole}: no turn of a chain in one row has one of its own; leave it out")
        self._max_images = max_images
        self._category = category or NO_CATEGORY
        self._language = language
        if language is not None and self._names["language"] is None:
            raise UserError(f"dataset.language={language}: give dataset.fields.language, which field tells it")
        self._languages: set[str] = set()
        self._fields: set[str] = set()

    @property
    def images(self) -> list[str]:
        """Names of the fields with images; empty if none is named."""
        names = self._names["image"]
        return [names] if isinstance(names, str) else names or []

    @property
    def reference_field(self) -> str:
        """Name of the field with the path of a reference; empty if none is named."""
        name = self._names["reference"]
        return name if isinstance(name, str) else ""

    def reference(self, values: Mapping[str, Any]) -> Any:
        """What a row has for the path of its reference; None for nothing."""
        found = self._get(values, "reference")
        return None if _is_missing(found) else found

    def wants(self, values: Mapping[str, Any]) -> bool:
        """Whether a row is in the language that is asked for; takes note of its fields."""
        self._fields |= values.keys()
        if self._language is None:
            return True
        found = str(self._get(values, "language"))
        self._languages.add(found)
        return found == self._language

    def check_scan(self, records: int) -> None:
        """Check that a scan that is over found records in the language asked for, and all fields that make them up.

        Raises:
            UserError: it found rows in other languages alone, or of several fields with images or turns one in no row.
        """
        for what in ("image", "instruction"):
            names = self._names[what]
            missing = [name for name in names if name not in self._fields] if isinstance(names, list) else []
            if missing and len(missing) < len(names or []):  # with none, every row says that it has none
                raise UserError(
                    f"dataset.fields.{what}: no row has a field {missing[0]!r}; there are "
                    f"{', '.join(sorted(self._fields)[:12])}: correct the name or leave it out"
                )
        if not records and self._languages:
            found = ", ".join(sorted(self._languages)[:10])
            raise UserError(f"dataset.language={self._language}: no record is in that language; found {found}")

    def records(self, row: Row) -> list[Record | BadRecord]:
        """Make a record of a row; where several fields hold instructions one of each turn, `<id>/1` and on."""
        names = self._names["instruction"]
        if not isinstance(names, list):
            follows = self._get(row.values, "follows")
            return [self._record(row, self._get(row.values, "instruction"), follows)]
        turns = [value for value in (row.values.get(name) for name in names) if value is not None and value != ""]
        first = self._record(row, row.values.get(names[0]), None)
        if isinstance(first, BadRecord):
            return [first]
        records = [self._record(row, turn, None) for turn in turns]
        bad = next((record for record in records if isinstance(record, BadRecord)), None)
        if bad is not None or any(row.values.get(name) in (None, "") for name in names[: len(turns)]):
            return [
                bad or BadRecord(row.index, first.sample_id, f"of {', '.join(names)} one before the last is missing")
            ]
        return [_as_turn(record, turn, first) for turn, record in enumerate(records, 1) if isinstance(record, Record)]

    def _record(self, row: Row, instruction: Any, follows: Any) -> Record | BadRecord:
        category = self._get(row.values, "category")
        category = self._category if category is None or category == "" else category
        description = self._get(row.values, "description")
        reference = self.reference(row.values)
        rewritten = self._get(row.values, "rewritten")
        rewritten = None if _is_missing(rewritten) else rewritten
        sample_id, repeat_id = self._ids(row, category, instruction)
        follows = None if follows == "" else str(follows) if type(follows) is int else follows
        of_images = row.problem or self._too_many(row.images) if follows is None else ""
        problems = [of_images, row.mask_problem] + [
            self._wrong(what, value, row.values)
            for what, value in {
                "instruction": instruction,
                "category": category,
                "description": "" if description is None else description,
                "id": sample_id,
                "follows": "" if follows is None else follows,
                "reference": "" if reference is None else reference,
                "rewritten": "" if rewritten is None else rewritten,
            }.items()
        ]
        if any(problems):
            shown = str(sample_id).encode(errors="replace").decode()
            return BadRecord(row.index, shown, "; ".join(filter(None, problems)))
        listed = [[names] if isinstance(names, str) else names or [] for names in self._names.values()]
        used = {name for names in listed for name in names} - {self._names["language"]}  # which is told nowhere else
        used |= {FOLDER, KEY}
        extra = extra_fields(row.values, used)
        return Record(
            sample_id=sample_id,
            category=category,
            instruction=instruction,
            description=description or "",
            source=None,
            source_error=None,
            locator=row.locator if follows is None else [],
            repeat_id=repeat_id,
            extra=extra,
            follows=follows,
            reference=reference,
            rewritten=rewritten,
        )

    def _get(self, values: Mapping[str, Any], what: str) -> Any:
        names = self._names[what]
        if isinstance(names, str):
            return values.get(names)
        return next((values[name] for name in names or [] if not _is_missing(values.get(name))), None)

    def _ids(self, row: Row, category: Any, instruction: Any) -> tuple[Any, str | None]:
        names = self._names["id"]
        values = {**row.values, STEM: image_ids(row.images, "")[0]}
        parts = [values.get(name) for name in ([names] if isinstance(names, str) else names or [])]
        if parts and all(part is not None and part != "" for part in parts):
            return "/".join(map(str, parts)) if all(type(part) in (str, int) for part in parts) else parts, None
        stem, repeat_id = image_ids(row.images, str(instruction))
        return (stem, repeat_id) if stem else (f"{category}_{row.index:05d}", None)

    def _too_many(self, images: list[str]) -> str:
        if self._max_images is None or len(images) <= self._max_images:
            return ""
        return f"has {len(images)} source images, more than dataset.max_images={self._max_images}"

    def _wrong(self, what: str, value: Any, values: Mapping[str, Any]) -> str:
        problem = not_text(value)
        if not problem:
            return ""
        hint = f" (there are {', '.join(map(str, list(values)[:12]))}; name it with dataset.fields.{what}=…)"
        name = self._names[what] or what
        return f"{name if isinstance(name, str) else ' or '.join(name)} {problem}{hint if value is None else ''}"


def _is_missing(value: Any) -> bool:
    """Whether a field holds nothing; tables write NaN for that."""
    return value is None or value == "" or value != value


def _as_turn(record: Record, turn: int, first: Record) -> Record:
    """The record of one turn of a row, which follows the one before."""
    repeat_id = first.repeat_id and f"{first.repeat_id}/{turn}"
    follows = f"{first.sample_id}/{turn - 1}" if turn > 1 else None
    locator = [] if follows else record.locator
    return replace(record, sample_id=f"{first.sample_id}/{turn}", repeat_id=repeat_id, follows=follows, locator=locator)
