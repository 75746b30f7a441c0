"""Datasets: anything that can list its records one at a time and read the image of one of them.

A new dataset is a class with these three methods, named by `_target_` in a YAML under `conf/dataset/`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from editbench.config.schema import SourceConfig
from editbench.run.identity import digest_of_sources
from editbench.run.records import Sample

NO_CATEGORY = "general"
"""Category of a record that has none."""

_TOUCH = "(where a JSON file names images by path, touch that file before, so that the plan is made anew)"


@dataclass(frozen=True)
class Record:
    """One record as it stands in the dataset.

    Attributes:
        sample_id: The sample's id; unique in the dataset unless there is a `repeat_id`.
        category: Category by any of its names; `NO_CATEGORY` if the record has none.
        instruction: What the editor is asked to do.
        description: What the source image shows; may be empty.
        source: What `read` gives, where the scan comes past it anyway; None: only `read` gets it, and only for samples
            that are planned. Empty if `source_error` is set.
        source_error: Why the source image cannot be had, e.g. broken base64; the sample then fails alone.
        locator: Whatever `read` needs to find this record again; it is kept in the plan.
        repeat_id: The id where another record has the same `sample_id`; None if the id is the dataset's own.
        extra: Fields that editbench does not use, as plain data; they go into the plan.
        follows: `sample_id` of an earlier record, whose edited image is this one's source; None: it has its own.
        reference: Path of a picture of a correct result, for judge and people; None without one. The dataset reads it
            by `read_file`, or where it has that by `read_reference`, to which this may be any text.
        rewritten: The instruction as the editor is to be given it; None: as it stands.
    """

    sample_id: str
    category: str
    instruction: str
    description: str
    source: bytes | list[bytes] | None
    source_error: str | None
    locator: list[int | str]
    repeat_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    follows: str | None = None
    reference: str | None = None
    rewritten: str | None = None


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be planned: what is wrong with its structure.

    Attributes:
        index: Position in the dataset.
        sample_id: Its id, as far as it is known.
        problem: One phrase that names the field and what was found.
    """

    index: int
    sample_id: str
    problem: str


class Dataset(Protocol):
    """A source of records. Constructed with the YAML's keyword arguments."""

    on_bad_record: str
    """`stop`: bad records end the run before a model loads; `skip`: the rest is planned."""

    def stamp(self) -> dict[str, Any]:
        """Return plain data that is cheap to get and differs whenever the records may have changed."""
        ...

    def scan(self) -> Iterator[Record | BadRecord]:
        """Yield all records in order, holding one at a time."""
        ...

    def read(self, locator: list[int | str]) -> bytes | list[bytes]:
        """Read the encoded source image file of one record; may be called by several threads at once.

        Returns:
            The file's bytes; of a record with several source images a list of them, in order.

        Raises:
            ValueError: it cannot be had, says why.
        """
        ...


@runtime_checkable
class HasFiles(Protocol):
    """A dataset whose records name files."""

    def read_file(self, path: str) -> bytes:
        """Read a file that a record names by path.

        Raises:
            ValueError: it cannot be had, says why.
        """
        ...


@runtime_checkable
class HasReferences(Protocol):
    """A dataset that finds a reference by its record, since not all are files."""

    def read_reference(self, locator: list[int | str]) -> bytes:
        """Read the picture of a correct result of one record.

        Raises:
            ValueError: it cannot be had, says why.
        """
        ...


def one_or_all(files: list[bytes]) -> bytes | list[bytes]:
    """What `read` gives for one source image file, or several."""
    return files[0] if len(files) == 1 else files


def digests(source: bytes | list[bytes]) -> list[str]:
    """Hex digest of each source image file that a dataset gave, in order."""
    return [hashlib.sha256(file).hexdigest() for file in ([source] if isinstance(source, bytes) else source)]


def read_sources(dataset: Dataset, sample: Sample) -> list[bytes]:
    """Read the source image files of a planned sample, one or several.

    Raises:
        ValueError: they cannot be had, or are no longer those that were planned.
    """
    if sample.follows:
        raise ValueError(f"its source is what becomes of {sample.follows!r}, and none of the dataset's images")
    source = dataset.read(sample.locator)
    if source == []:
        raise ValueError("the record has no source image any more")
    if digest_of_sources(digests(source)) != sample.source_sha256:
        raise ValueError(f"the dataset's image is no longer the planned one; start the edit phase again {_TOUCH}")
    return [source] if isinstance(source, bytes) else source


def read_named(dataset: Dataset, path: str) -> bytes:
    """Read a file that a record names by path.

    Raises:
        ValueError: it cannot be had, says why.
    """
    if not isinstance(dataset, HasFiles):
        raise ValueError("the dataset gives no files by path")
    return dataset.read_file(path)


def find_reference(dataset: Dataset, sample: Sample) -> bytes:
    """Read the picture of a correct result of a sample that has one, whatever was planned.

    Raises:
        ValueError: it cannot be had, says why.
    """
    if isinstance(dataset, HasReferences):
        return dataset.read_reference(sample.locator)
    return read_named(dataset, sample.reference or "")


def read_reference(dataset: Dataset, sample: Sample) -> bytes:
    """Read the picture of a correct result of a planned sample that has one.

    Raises:
        ValueError: it cannot be had, or is no longer the one that was planned.
    """
    data = find_reference(dataset, sample)
    if digests(data) != [sample.reference_sha256]:
        raise ValueError(f"the reference image is no longer the planned one; start the edit phase again {_TOUCH}")
    return data


def check_instruction(instruction: str, limits: SourceConfig) -> None:
    """Check that an instruction can be followed.

    Raises:
        ValueError: it is empty or longer than the limit.
    """
    if not instruction.strip():
        raise ValueError("the instruction is empty")
    if len(instruction) > limits.max_instruction_chars:
        raise ValueError(
            f"the instruction has {len(instruction)} characters; source.max_instruction_chars="
            f"{limits.max_instruction_chars} are accepted"
        )
