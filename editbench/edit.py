"""Phase 1: edit every planned sample, one process per GPU.

    torchrun --nproc_per_node=6 -m editbench.edit run_name=mine editor=qwen_image_edit dataset.path=bench.json

Rank 0 makes the plan and finds what is missing; rank r edits `missing[r::world_size]`, or with
`edit.schedule=dynamic` whatever is next, one image at a time, or as many as an editor with `concurrency` is asked for;
samples that follow each other stay together. The images travel to rank 0 as PNG bytes, and rank 0 appends them to
shards and index. Started again, it does what is still missing. It judges nothing.
"""

import math

from editbench import cli
from editbench.components.load import component_class
from editbench.config.schema import Config
from editbench.distributed import devices
from editbench.editors.chains import ChainSources, chains_of, edit_by_edit
from editbench.editors.loop import edit_at_once, edit_one_by_one, edits_at_once
from editbench.job import Job
from editbench.plan import ensure_plan, show_dry_run
from editbench.run.records import Edit, EditTask
from editbench.run.recovery import take_up_stored
from editbench.run.sinks import EditSink
from editbench.todo import Todo, find_edit_tasks, withdraw_edits


def main(config: Config) -> int:
    """Edit what is missing; returns the exit code."""
    if config.dry_run:
        return show_dry_run(config, "edit")
    with Job("edit", config) as job:
        todo = job.take_stock(lambda: find_missing(config, job))
        if todo.tasks:
            edit_all(config, job, todo)
    return job.exit_code


def find_missing(config: Config, job: Job) -> Todo[EditTask, Edit]:
    """On rank 0: make the plan, and find what has no edit of these settings."""
    folder, checkpoint = job.folder, job.checkpoint
    take_up_stored(folder)
    plan = ensure_plan(config, folder, lambda new: find_edit_tasks(config, folder, new, checkpoint))
    todo = find_edit_tasks(config, folder, plan, checkpoint)
    job.check_failures(todo)
    if not todo.tasks:
        folder.write_config(config.resolved)
    return todo


def edit_all(config: Config, job: Job, todo: Todo[EditTask, Edit]) -> None:
    """Edit this rank's share of what is missing; what is done is on its way to rank 0 behind the next edit."""
    job.begin(todo)
    chains = chains_of(todo.tasks)  # of one edit each, unless samples follow others
    rounds = math.ceil(len(chains) / job.ranks.world_size)
    editor = job.load(_devices(config, job, len(chains)), rounds=rounds)
    at_once = edits_at_once(editor)
    sources = ChainSources(config, job.folder, todo.tasks)
    with job.results(lambda: open_sink(config, job, todo)) as results:
        if config.edit.schedule == "strided":
            turns = job.turns(chains, config.edit.sync_every)
        else:
            turns = job.draws("edits", chains if editor else [])
        if at_once > 1:
            edit_at_once(editor, turns, sources, results.put, job.stopping)
        else:
            edit_one_by_one(editor, edit_by_edit(turns, job.stopping), sources, results.put, job.session.step)
    if editor:
        job.session.loaded(editor.describe())  # with what it has counted by now


def open_sink(config: Config, job: Job, todo: Todo[EditTask, Edit]) -> EditSink:
    """On rank 0, when all ranks have loaded: withdraw the edits that are made anew, and take the new ones."""
    withdraw_edits(todo.tasks, job.folder)
    job.folder.write_config(config.resolved)
    return EditSink(job.folder, config.edit.shard_size_mib, [task.sample for task in todo.tasks], job.session)


def _devices(config: Config, job: Job, tasks: int) -> list[str]:
    """This rank's device; none if it has nothing to edit. The CPU for an editor whose class says `uses_gpu = False`."""
    uses_gpu = getattr(component_class(config.editor, "editor"), "uses_gpu", True)
    names = devices.usable_devices(config.device_ids) if uses_gpu else []
    device = devices.edit_device(job.ranks.local_rank, job.ranks.local_world_size, names)
    return [device] if job.ranks.rank < tasks else []


if __name__ == "__main__":
    cli.run(main, __doc__)
