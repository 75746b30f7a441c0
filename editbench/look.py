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
from editbench.datasets.base import Dataset, read_source
from editbench.datasets.masks import has_mask, read_mask
from editbench.run.records import Edit, Sample
from editbench.run.shards import read_image
from editbench.run.thumbs import edited_name, source_name, write_thumb

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
    """An edit to be looked at; `key` finds its measurement, and `pixels` are there if it was measured before."""

    sample: Sample
    edit: Edit
    key: Key
    pixels: dict[str, Any] | None

    @property
    def names(self) -> tuple[str, str]:
        """File names of its thumbnails, of the source and of the edited image."""
        return source_name(self.sample), edited_name(self.sample, self.edit)


class Look(NamedTuple):
    """What was found of a task's edit, and why a picture could not be read, or not be measured by the metric."""

    task: Task
    pixels: dict[str, Any] | None
    source_error: str | None = None
    edited_error: str | None = None
    metric_error: str | None = None


def look_at_batch(place: Place, batch: Sequence[Task]) -> list[Look]:
    """Look at edits, in a process of its own or not; a source that several have on end is read once."""
    metric = open_metric(place.metric) if place.metric else None
    dataset: Dataset | None = None
    source: Image.Image | str = ""
    before = None
    looks = []
    for task in batch:
        if task.sample.source_sha256 != before:
            try:
                dataset = dataset or open_dataset(place.dataset)
                source = images.decode_rgb(read_source(dataset, task.sample), place.limits)
            except Exception as error:  # a dataset is anybody's code; an edit without a source goes without figures
                source = f"{type(error).__name__}: {error}"
            before = task.sample.source_sha256
        looks.append(_look(place, task, source, metric, dataset))
    return looks


def _look(place: Place, task: Task, source: Image.Image | str, metric: Metric | None, dataset: Dataset | None) -> Look:
    """Measure one edit, and write the thumbnails that are not there."""
    from editbench.analysis.pixels import measure  # scikit-image takes a second, which most reports can do without

    edit, errors = task.edit, {}
    paths = [place.thumbs / name for name in task.names]
    if isinstance(source, str):
        errors["source_error"] = source
    elif not paths[0].exists():
        write_thumb(source, paths[0])
    try:
        png = read_image(place.edits, edit.shard or 0, edit.offset or 0, edit.length or 0, edit.sha256 or "")
        edited = images.decode_rgb(png)
    except (ValueError, OSError) as error:
        return Look(task, task.pixels, **errors, edited_error=f"{type(error).__name__}: {error}")
    if not paths[1].exists():
        write_thumb(edited, paths[1])
    if isinstance(source, str):
        return Look(task, task.pixels, **errors)
    if task.pixels:
        return Look(task, task.pixels)
    try:
        figures: dict[str, Any] = {"metrics": metric.measure(task.sample, source, edited)} if metric else {}
    except Exception as error:  # a metric is anybody's code; an edit that it fails on goes without figures
        return Look(task, None, metric_error=f"{type(error).__name__}: {error}")
    mask = None
    if has_mask(task.sample):
        try:
            there = dataset or open_dataset(place.dataset)
            mask = read_mask(there, task.sample, source.size, edited.size, place.limits)
        except Exception as error:  # as for sources; the figures of the whole picture are there nevertheless
            figures["mask_error"] = str(error) or type(error).__name__
    return Look(task, measure(source, edited, mask) | figures)
