"""Samples of a dataset's records: ids that are unique, categories by their canonical names, chains, digests."""

import dataclasses

from editbench.datasets.base import NO_CATEGORY, BadRecord, Dataset, Record, digests, find_reference
from editbench.datasets.ids import RULE
from editbench.errors import UserError
from editbench.run.identity import digest_of_sources, sample_key
from editbench.run.records import Sample


def collect_samples(dataset: Dataset, names: dict[str, str]) -> tuple[list[Sample], list[BadRecord]]:
    """Read every record once; keeps all but the images.

    Args:
        dataset: Where they come from.
        names: The canonical name of each category by any of its names.

    Returns:
        What can be planned, in order, without the digests of images that the scan did not come past; and what cannot.

    Raises:
        UserError: there are no records at all.
    """
    found: list[tuple[int, Record | BadRecord]] = []
    images: dict[int, list[str]] = {}
    bad: list[BadRecord] = []
    for index, record in enumerate(dataset.scan()):
        if isinstance(record, Record):
            images[index] = [] if record.source is None else digests(record.source)
            record = dataclasses.replace(record, source=None)
        found.append((index, record))
    samples: list[Sample] = []
    seen: dict[str, int] = {}
    uses: dict[str, set[str | None]] = {}
    placed: dict[str, Sample] = {}
    for _, record in found:
        if isinstance(record, Record):
            uses.setdefault(record.sample_id, set()).add(record.repeat_id)
    for index, record in found:
        before = placed.get(record.follows) if isinstance(record, Record) and record.follows else None
        placed.pop(record.sample_id, None)  # what follows a record that is left out is never taken for another's
        if isinstance(record, BadRecord):
            bad.append(record)
            continue
        sample_id = (len(uses[record.sample_id]) > 1 and record.repeat_id) or record.sample_id
        if record.category not in names:
            bad.append(BadRecord(index, sample_id, no_rubric(record.category, names)))
        elif seen.setdefault(sample_id, index) != index:
            bad.append(BadRecord(index, sample_id, f"has the same id as record {seen[sample_id]}: {RULE}"))
        elif record.follows and before is None:
            bad.append(BadRecord(index, sample_id, f"follows {record.follows!r}, which is no sample before it"))
        else:
            own = dataclasses.replace(record, sample_id=sample_id)
            sample = _sample(own, len(samples), names[record.category], images[index])
            if before:
                earlier = [*before.earlier, before.instruction]
                sample = dataclasses.replace(sample, follows=before.sample_id, earlier=earlier)
            samples.append(sample)
            placed[record.sample_id] = sample
    if not samples and not bad:
        raise UserError("the dataset holds no records; give another dataset.path")
    return samples, sorted(bad, key=lambda record: record.index)


def _sample(record: Record, index: int, category: str, images: list[str]) -> Sample:
    sample = Sample(
        index=index,
        sample_id=record.sample_id,
        key=sample_key(record.sample_id),
        category=category,
        instruction=record.instruction,
        description=record.description,
        source_sha256="",
        locator=record.locator,
        extra=record.extra,
        reference=record.reference,
        rewritten=record.rewritten,
    )
    return _with_digests(sample, images) if images else sample


def _with_digests(sample: Sample, images: list[str]) -> Sample:
    return dataclasses.replace(
        sample, source_sha256=digest_of_sources(images), images_sha256=images if len(images) > 1 else []
    )


def read_digests(samples: list[Sample], dataset: Dataset) -> list[Sample]:
    """Read the images that the scan did not; what follows another sample has the digest of the first of its chain."""
    read: dict[str, Sample] = {}
    for sample in samples:
        if sample.follows:
            first = read[sample.follows].source_sha256
            done = dataclasses.replace(sample, source_sha256=first)
        else:
            done = _read_own_digests(sample, dataset)
        read[sample.sample_id] = _with_reference(done, dataset) if sample.reference else done
    return list(read.values())


def _read_own_digests(sample: Sample, dataset: Dataset) -> Sample:
    """Read the images that the scan did not; what cannot be read counts as empty, and fails when it is edited."""
    if sample.source_sha256:
        return sample
    try:
        images = digests(dataset.read(sample.locator))
    except ValueError:
        images = []
    return _with_digests(sample, images or digests(b""))


def _with_reference(sample: Sample, dataset: Dataset) -> Sample:
    """Read a sample's reference; one that cannot be read counts as empty, and the sample's judgment fails."""
    try:
        data = find_reference(dataset, sample)
    except ValueError:
        data = b""
    return dataclasses.replace(sample, reference_sha256=digests(data)[0])


def no_rubric(category: str, names: dict[str, str]) -> str:
    """Say that a category has no rubric, and which there are."""
    missing = f"category {category!r}" + (", that of records without one," if category == NO_CATEGORY else "")
    other = "choose other rubrics, such as rubric=general"
    if NO_CATEGORY in names:
        other = f"judge it by that for any edit with 'rubrics.general.names=[general,\"{category}\"]'"
    return (
        f"{missing} has no rubric (known: {', '.join(sorted(set(names.values())))}); {other}, or add one as "
        f"conf/rubric/mine.yaml and the override +rubric@rubrics.mine=mine, with "
        f"{category!r} among its names"
    )
