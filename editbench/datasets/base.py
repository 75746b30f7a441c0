"""Datasets: anything that can list its records one at a time and read one of them again.

A new dataset is a class with these three methods, named by `_target_` in a YAML under `conf/dataset/`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from editbench.config.schema import SourceConfig
from editbench.run.records import Sample


@dataclass(frozen=True)
class Record:
    """One record as it stands in the dataset.

    Attributes:
        sample_id: The sample's id; unique in the dataset.
        category: Category by any of its names.
        instruction: What the editor is asked to do.
        description: What the source image shows; may be empty.
        source: The encoded source image file; empty if `source_error` is set.
        source_error: Why the source image cannot be had, e.g. broken base64; the sample then fails alone.
        locator: Whatever `read` needs to find this record again; it is kept in the plan.
    """

    sample_id: str
    category: str
    instruction: str
    description: str
    source: bytes
    source_error: str | None
    locator: list[int]


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

    def read(self, locator: list[int]) -> Record:
        """Read one record again."""
        ...


def read_source(dataset: Dataset, sample: Sample) -> bytes:
    """Read the source image file of a planned sample.

    Raises:
        ValueError: it cannot be had, or is no longer the one that was planned.
    """
    record = dataset.read(sample.locator)
    if record.source_error:
        raise ValueError(record.source_error)
    if hashlib.sha256(record.source).hexdigest() != sample.source_sha256:
        raise ValueError("the dataset's image is no longer the planned one; start the edit phase again")
    return record.source


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
