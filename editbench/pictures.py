"""The pass over a run's pictures in the report phase: what their pixels say, and thumbnails.

What is found is kept in `pictures.jsonl` and `thumbs/`, so each picture is looked at once. Reads what an edit phase has
completed, also while it is running. Needs no GPU and no torch.
"""

import concurrent.futures
import hashlib
import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editbench.components.check import check_metric
from editbench.components.load import metric_bounds, open_dataset, open_metric
from editbench.config.schema import ComponentConfig, Config
from editbench.datasets.masks import UNREADABLE, has_mask, mask_digest
from editbench.errors import MetricError, UserError
from editbench.look import Key, Look, Place, Task, look_at_batch
from editbench.plan import dataset_of
from editbench.run.folder import RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines, read_lines, write_atomic
from editbench.run.progress import ProgressDisplay
from editbench.run.records import Measurement, Sample, to_dict
from editbench.run.sealed_json import seal
from editbench.run.thumbs import reference_name, remove_other_thumbs
from editbench.text import hide

VERSION = "3"
"""Of the measures: to be raised when `analysis.pixels.measure` gives other numbers of the same pictures."""
MOST_PROCESSES = 8
_HANDFUL = 24
"""So many pictures take less time than starting processes."""
_BATCH = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Looks:
    """What the pictures of a run show.

    Attributes:
        images: By sample id and digest of the edited image: `pixels` as `measure` gives them, None if a picture cannot
            be read; `thumbs`: paths of `source` and `edited` in the run folder, each None if it cannot be read, and of
            a sample with several source images the paths of the others under `more_sources`, of one with a reference
            its path under `reference`.
        notes: What could not be read, a sentence each.
        bounds: Lowest and highest value of the metric's figures by name, as far as they are known.
    """

    images: dict[tuple[str, str | None], dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)

    def of(self, sample_id: str, image_sha256: str | None) -> dict[str, Any]:
        """`pixels`, `thumbs` and `metrics` of a sample's edit; None if it was not looked at."""
        found = self.images.get((sample_id, image_sha256), {"pixels": None, "thumbs": None})
        pixels = found["pixels"] or {}
        return found | {"metrics": pixels.get("metrics")}


def look_at(run_dir: RunDir, config: Config) -> Looks:
    """Measure the edits of a run and make thumbnails, as far as that was not done before.

    Args:
        run_dir: The run.
        config: The limits of sources, and secrets that the dataset needs; the rest is on record in the run folder.

    Raises:
        MetricError: the metric cannot be had; nothing was measured.
        UserError: a file of the run is damaged, or a process was killed.
    """
    plan, edits = run_dir.read_plan(), run_dir.read_edits()
    if plan is None:
        return Looks()
    if config.metric:
        _check(config.metric)
    place = Place(run_dir.edits, run_dir.thumbs, dataset_of(plan, config), config.source, config.metric)
    version = _version(config.metric)
    kept, lines = _read_measurements(run_dir.pictures)
    measured = kept.pop(version, {})
    depends = _depends_on(plan.samples, place)
    tasks = []
    for sample in plan.samples:
        edit = edits.get(sample.sample_id)
        if edit and edit.state == "edited" and edit.sha256 and edit.input == sample_input(sample):
            before = edits.get(sample.follows) if sample.follows else None
            source = before.sha256 if before else sample.source_sha256
            if source and (before is None or edit.follows_sha256 == source):
                key = (source, edit.sha256, depends.get(sample.sample_id, ""))
                tasks.append(Task(sample, edit, key, measured.get(key), before))
    if not tasks and not run_dir.thumbs.exists():
        return Looks()
    run_dir.thumbs.mkdir(exist_ok=True)
    there = {path.name for path in run_dir.thumbs.iterdir()}
    todo = [task for task in tasks if task.pixels is None or not there.issuperset(task.names)]
    if config.metric and any(task.pixels is None for task in todo):
        _check(config.metric, opened=True)
    looks = _look_at_all(run_dir.pictures, place, todo, version) if todo else []
    new = [look for look in looks if look.pixels and not look.task.pixels]
    measured |= {look.task.key: look.pixels for look in new if look.pixels}
    wanted = {task.key: measured[task.key] for task in tasks if task.key in measured}
    pairs = {task.key[:2] for task in tasks}
    others = {of: {key: one for key, one in found.items() if key[:2] in pairs} for of, found in kept.items()}
    if sum(map(len, (wanted, *others.values()))) != lines + len(new):  # of edits that no longer count, or damaged
        every = (others | {version: wanted}).items()
        records = (_measurement(key, of, pixels) for of, found in every for key, pixels in found.items())
        write_atomic(run_dir.pictures, (seal(to_dict(record)) + b"\n" for record in records))
    remove_other_thumbs(run_dir.thumbs, {name for task in tasks for name in task.names})
    there = {path.name for path in run_dir.thumbs.iterdir()}
    found = {(task.sample.sample_id, task.edit.sha256): _found(task, wanted, there) for task in tasks}
    bounds = metric_bounds(config.metric) if config.metric else {}
    return Looks(found, _notes(looks, len(tasks)) + _mask_notes(wanted.values()), bounds)


def _check(metric: ComponentConfig, opened: bool = False) -> None:
    """Check a metric before anything is measured by it, and that it opens where it is to be opened.

    Raises:
        MetricError: it does not fit, or does not open.
    """
    try:
        check_metric(metric)
        if opened:
            open_metric(metric)
    except UserError as error:
        raise MetricError(str(error)) from error
    except Exception as error:  # a metric is anybody's code
        why = f"{type(error).__name__}: {error}"
        raise MetricError(
            f"metric._target_={metric.target}: cannot be opened ({why}); give it what it lacks"
        ) from error


def _depends_on(samples: Sequence[Sample], place: Place) -> dict[str, str]:
    """By sample id, what figures depend on beside the two pictures: with a metric on the sample, and on its mask."""
    found = {sample.sample_id: sample.sample_id for sample in samples} if place.metric else {}
    masked = [sample for sample in samples if has_mask(sample)]
    try:
        dataset = open_dataset(place.dataset) if masked else None
    except UserError:  # the dataset is not on this machine
        dataset = None
    for sample in masked:
        digest = mask_digest(dataset, sample) if dataset else UNREADABLE
        found[sample.sample_id] = f"{found.get(sample.sample_id, '')} mask {digest}".strip()
    return found


def _found(task: Task, measured: dict[Key, dict[str, Any]], there: set[str]) -> dict[str, Any]:
    edited, source, *more = (f"thumbs/{name}" if name in there else None for name in task.own_names)
    thumbs: dict[str, Any] | None = {"source": source, "edited": edited} if source or edited else None
    if thumbs and more:
        thumbs["more_sources"] = more
    if thumbs and (name := reference_name(task.sample)):
        thumbs["reference"] = f"thumbs/{name}" if name in there else None
    return {"pixels": measured.get(task.key), "thumbs": thumbs}


def _version(metric: ComponentConfig | None) -> str:
    """The measures' version, with a digest of the metric's class and arguments."""
    given = json.dumps([metric.target, metric.kwargs], sort_keys=True) if metric else ""
    return f"{VERSION} {hashlib.sha256(given.encode()).hexdigest()[:16]}" if metric else VERSION


def _measurement(key: Key, version: str, pixels: dict[str, Any]) -> Measurement:
    return Measurement(*key[:2], version, pixels, key[2])


def _read_measurements(path: Path) -> tuple[dict[str, dict[Key, dict[str, Any]]], int]:
    """Read what these measures found before, by version for other metrics have theirs; a damaged file is given up.

    Returns:
        What was found, and the number of lines.
    """
    try:
        lines = list(read_lines(path, Measurement))
    except UserError as error:
        logger.warning("%s; everything is measured anew", error)
        path.unlink(missing_ok=True)
        return {}, 0
    found: dict[str, dict[Key, dict[str, Any]]] = {}
    for m in lines:
        if m.version.partition(" ")[0] == VERSION:
            found.setdefault(m.version, {})[m.source_sha256, m.image_sha256, m.sample_id] = m.pixels
    return found, len(lines)


def _look_at_all(path: Path, place: Place, tasks: list[Task], version: str) -> list[Look]:
    """Look at edits, and keep what is measured after each batch: a pass that is stopped goes on from there."""
    looks: list[Look] = []
    file, display = JsonLines(path), ProgressDisplay("pictures", len(tasks), 0)
    display.start()
    try:
        for batch in _in_processes(place, tasks):
            looks += batch
            new = [look for look in batch if look.pixels and not look.task.pixels]
            file.append(*(_measurement(look.task.key, version, look.pixels or {}) for look in new))
            display.update(len(looks), "looked at")
    finally:
        display.stop()
        file.close()
    return looks


def _in_processes(place: Place, tasks: list[Task]) -> Iterator[list[Look]]:
    """Look at edits batch by batch, those of one source together, on as many processes as there are cores for."""
    tasks = sorted(tasks, key=lambda task: task.key)
    batches = [tasks[start : start + _BATCH] for start in range(0, len(tasks), _BATCH)]
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, len(batches))
    if len(tasks) <= _HANDFUL or processes == 1:
        yield from (look_at_batch(place, batch) for batch in batches)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    with concurrent.futures.ProcessPoolExecutor(processes, spawn, _begin_process) as pool:
        futures = [pool.submit(look_at_batch, place, batch) for batch in batches]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that looks at pictures was killed, most likely for want of memory; start again, it goes on "
                "from there, or report without them: report.pictures=false"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_process() -> None:
    """Let this process end when the report is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _notes(looks: Sequence[Look], of: int) -> list[str]:
    """Say, in a sentence each, which edits have no figures or lack a picture, and why."""
    notes = []
    for what, causes in (
        ("source could not be read", [look.source_error for look in looks if look.source_error and not look.pixels]),
        (
            "edited image could not be read",
            [look.edited_error for look in looks if look.edited_error and not look.pixels],
        ),
        ("metric failed", [look.metric_error for look in looks if look.metric_error]),
    ):
        if causes:
            count = f"{len(causes)} of {of} edits"
            notes.append(hide(f"pixels: nothing is known of {count}, whose {what} ({causes[0]})"))
    errors = [look.reference_error for look in looks if look.reference_error]
    if errors:
        notes.append(hide(f"pictures: {len(errors)} of {of} edits are shown without their reference ({errors[0]})"))
    return notes


def _mask_notes(measured: Iterable[dict[str, Any]]) -> list[str]:
    """Say which edits lack the figures inside and outside their masks, and why."""
    errors = [pixels["mask_error"] for pixels in measured if pixels.get("mask_error")]
    if not errors:
        return []
    return [hide(f"pixels: {len(errors)} edits have no figures inside and outside their masks ({errors[0]})")]
