"""Phase 1: edit every planned sample, one process per GPU.

    torchrun --nproc_per_node=6 -m editbench.edit run_name=mine editor=qwen_image_edit dataset.path=bench.json

Rank 0 makes the plan and finds what is missing; rank r edits `missing[r::world_size]`, or with
`edit.schedule=dynamic` whatever is next, one image at a time; the images travel to rank 0 as PNG bytes, and rank 0
appends them to shards and index. Started again, it does what is still missing. It judges nothing.
"""

import functools
import logging
import math
import time
from collections.abc import Callable

from PIL import Image

from editbench import cli, images
from editbench.components.checkpoint import Checkpoint
from editbench.components.load import open_dataset
from editbench.config.schema import Config
from editbench.datasets.sources import ReadSource, Sources
from editbench.distributed import devices
from editbench.editors.base import Editor
from editbench.errors import InvalidOutputError
from editbench.job import Job
from editbench.plan import ensure_plan, show_dry_run
from editbench.run.identity import sample_input
from editbench.run.records import Edit
from editbench.run.recovery import take_up_stored
from editbench.run.session import check_failures
from editbench.run.sinks import EditSink
from editbench.text import hide, printable
from editbench.todo import EditTask, Todo, find_edit_tasks, withdraw_edits

logger = logging.getLogger("editbench.edit")


def main(config: Config) -> int:
    """Edit what is missing; returns the exit code."""
    if config.dry_run:
        return show_dry_run(config, "edit")
    with Job("edit", config) as job:
        checkpoint = job.find_checkpoint(config.editor)
        todo = job.plan(lambda: find_missing(config, job, checkpoint))
        if todo.tasks:
            edit_all(config, job, checkpoint, todo)
    return job.exit_code


def find_missing(config: Config, job: Job, checkpoint: Checkpoint | None) -> Todo[EditTask, Edit]:
    """On rank 0: make the plan, find what has no edit, and withdraw the edits that are made anew."""
    folder = job.folder
    take_up_stored(folder)
    plan = ensure_plan(config, folder, lambda new: find_edit_tasks(config, folder, new, checkpoint))
    todo = find_edit_tasks(config, folder, plan, checkpoint)
    check_failures("edit", todo.states, todo.total, config.max_failed)
    withdraw_edits(todo.tasks, folder)
    folder.write_config(config.resolved)
    return todo


def edit_all(config: Config, job: Job, checkpoint: Checkpoint | None, todo: Todo[EditTask, Edit]) -> None:
    """Edit one image at a time, each on its way to rank 0 behind the next edit."""
    job.begin(todo, config.editor, checkpoint)
    rounds = math.ceil(len(todo.tasks) / job.ranks.world_size)
    editor = job.load(config.editor, checkpoint, _devices(config, job, len(todo.tasks)), rounds=rounds)
    sources = Sources(open_dataset(config.dataset), config.source)
    samples = [task.sample for task in todo.tasks]
    with job.results(lambda: EditSink(job.folder, config.edit.shard_size_mib, samples, job.session)) as results:
        if config.edit.schedule == "strided":
            turns = job.turns(todo.tasks, config.edit.sync_every)
        else:
            turns = job.draws("edits", todo.tasks if editor else [])
        for task, following in turns:
            source = sources.take(task.sample, then=following.sample if following else None)
            edit, image = edit_one(editor, task, source, job.session.step)
            results.put(functools.partial(encode, edit, image))
    if editor:
        job.session.loaded(editor.describe())  # with what it has counted by now


def encode(edit: Edit, image: Image.Image | None) -> tuple[Edit, bytes | None]:
    """What travels to rank 0: the record, and its PNG if there is one."""
    return edit, None if image is None else images.encode_png(image)


def edit_one(
    editor: Editor, task: EditTask, read: ReadSource, on_step: Callable[[int, int], None]
) -> tuple[Edit, Image.Image | None]:
    """Edit one sample; whatever goes wrong with it is put on record and ends nothing else.

    Args:
        editor: The editor.
        task: What is edited.
        read: Gives the source image, or raises what is wrong with it.
        on_step: Called with (steps done, steps in all).

    Returns:
        The record, and the edited image if there is a valid one.

    Raises:
        Exception: a CUDA error after which this process can do nothing more on its device.
    """
    sample = task.sample
    edit = Edit(sample.sample_id, sample.category, "edited", task.unit, sample_input(sample), task.seed)
    image = None
    started = time.monotonic()
    try:
        source = read()
        edit.source_width, edit.source_height = source.size
        result = editor.edit(source, sample.instruction, task.seed, on_step)
        images.check_edited(result)
        edit.width, edit.height = result.size
        image = result.copy()  # it is encoded while the editor is at work again, maybe in the same memory
    except Exception as error:
        if devices.is_lost(error):
            raise
        edit.state = "invalid_output" if isinstance(error, InvalidOutputError) else "edit_failed"
        edit.error_type, edit.error = type(error).__name__, hide(str(error))
        logger.warning("sample %s: %s: %s", *map(printable, (sample.sample_id, edit.error_type, edit.error)))
        logger.debug("the traceback", exc_info=True)
    if edit.state != "edited":
        devices.empty_cache()  # outside the except clause: the exception holds on to the edit's tensors
    edit.latency_s = round(time.monotonic() - started, 4)
    return edit, image


def _devices(config: Config, job: Job, tasks: int) -> list[str]:
    """This rank's device; none if it has nothing to edit."""
    names = devices.usable_devices(config.device_ids)
    device = devices.edit_device(job.ranks.local_rank, job.ranks.local_world_size, names)
    return [device] if job.ranks.rank < tasks else []


if __name__ == "__main__":
    cli.run(main, __doc__)
