"""Looks at edits of a run: reads both pictures, measures them, and writes the thumbnails that are not there.

Runs in processes of its own; see `pictures.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from editbench import images
from editbench.analysis.known_truth import Metric
from editbench.components.load import open_dataset, open_metric
from editbench.config.schema import ComponentConfig, SourceConfig
from editbench.datasets.base import Dataset, read_reference, read_sources
from editbench.datasets.masks import has_mask, read_mask
from editbench.run.records import Edit, Sample
from editbench.run.shards import read_edited
from editbench.run.thumbs import edited_name, reference_name, source_names, write_thumb

Key = tuple[str, str, str]
"""Digests of the files of source and edited image; what else figures depend on, see `Measurement.sample_id`."""


class Place(NamedTuple):
    """Where pictures are read, and thumbnails written."""

    edits: Path
    thumbs: Path
    dataset: ComponentConfig
    limits: SourceConfig
    metric: ComponentConfig | None = None


class Task(NamedTuple):
    """An edit to be looked at; `key` finds its measurement, and `pixels` are there if it was measured before.

    In a chain `before` is the edit whose image was its source.
    """

    sample: Sample
    edit: Edit
    key: Key
    pixels: dict[str, Any] | None
    before: Edit | None = None

    @property
    def own_names(self) -> list[str]:
        """File names of its thumbnails, of the edited image and then of the source images."""
        return [edited_name(self.sample, self.edit), *source_names(self.sample, self.before)]

    @property
    def names(self) -> list[str]:
        """File names of all its thumbnails, that of its reference last, where it has one."""
        return [*self.own_names, *filter(None, [reference_name(self.sample)])]


class Look(NamedTuple):
    """What was found of a task's edit, and why a picture could not be read, or not be measured by the metric."""

    task: Task
    pixels: dict[str, Any] | None
    source_error: str | None = None
    edited_error: str | None = None
    metric_error: str | None = None
    reference_error: str | None = None


def look_at_batch(place: Place, batch: Sequence[Task]) -> list[Look]:
    """Look at edits, in a process of its own or not; sources that several have on end are read once."""
    measures = any(task.pixels is None for task in batch)
    metric = open_metric(place.metric) if place.metric and measures else None
    dataset: Dataset | None = None
    sources: list[Image.Image] | str = ""
    before = None
    looks = []
    for task in batch:
        if task.pixels and all((place.thumbs / name).exists() for name in task.own_names):
            # it lacks its reference alone
            looks.append(Look(task, task.pixels, reference_error=_show_reference(place, task.sample, dataset)))
            continue
        if task.key[0] != before:
            try:
                if task.before:
                    sources = [images.decode_rgb(read_edited(place.edits, task.before))]
                else:
                    dataset = dataset or open_dataset(place.dataset)
                    sources = [images.decode_rgb(file, place.limits) for file in read_sources(dataset, task.sample)]
            except Exception as error:  # a dataset is anybody's code; an edit without a source goes without figures
                sources = f"{type(error).__name__}: {error}"
            before = task.key[0]
        look = _look(place, task, sources, metric, dataset)
        looks.append(look._replace(reference_error=_show_reference(place, task.sample, dataset)))
    return looks


def _show_reference(place: Place, sample: Sample, dataset: Dataset | None) -> str | None:
    """Write the thumbnail of a sample's reference, where it has one and that is not there; say why it cannot be had."""
    name = reference_name(sample)
    if name is None or (place.thumbs / name).exists():
        return None
    try:
        picture = images.decode_rgb(read_reference(dataset or open_dataset(place.dataset), sample), place.limits)
    except Exception as error:  # as for sources
        return f"{type(error).__name__}: {error}"
    write_thumb(picture, place.thumbs / name)
    return None


def _look(
    place: Place, task: Task, sources: list[Image.Image] | str, metric: Metric | None, dataset: Dataset | None
) -> Look:
    """Measure one edit against its first source, and write the thumbnails that are not there."""
    from editbench.analysis.pixels import measure  # scikit-image takes a second, which most reports can do without

    errors = {}
    edited_path, *source_paths = (place.thumbs / name for name in task.own_names)
    if isinstance(sources, str):
        errors["source_error"] = sources
    else:
        for picture, path in zip(sources, source_paths, strict=True):
            if not path.exists():
                write_thumb(picture, path)
    try:
        edited = images.decode_rgb(read_edited(place.edits, task.edit))
    except (ValueError, OSError) as error:
        return Look(task, task.pixels, **errors, edited_error=f"{type(error).__name__}: {error}")
    if not edited_path.exists():
        write_thumb(edited, edited_path)
    if isinstance(sources, str):
        return Look(task, task.pixels, **errors)
    if task.pixels:
        return Look(task, task.pixels)
    try:
        figures: dict[str, Any] = {"metrics": metric.measure(task.sample, sources[0], edited)} if metric else {}
    except Exception as error:  # a metric is anybody's code; an edit that it fails on goes without figures
        return Look(task, None, metric_error=f"{type(error).__name__}: {error}")
    mask = None
    if has_mask(task.sample):
        try:
            there = dataset or open_dataset(place.dataset)
            mask = read_mask(there, task.sample, sources[0].size, edited.size, place.limits)
        except Exception as error:  # as for sources; the figures of the whole picture are there nevertheless
            figures["mask_error"] = str(error) or type(error).__name__
    return Look(task, measure(sources[0], edited, mask) | figures)
