"""Phase 2: let the judge score every edited image, in batches, a replica per process where it fits.

    torchrun --nproc_per_node=6 -m editbench.score run_name=mine judge=qwen3_vl

It judges the samples of the run's plan. Batches of one category and similar length are cut from it, and each replica
takes the next batch that nobody has, so no reply depends on the number of processes. A batch is asked under each
criterion of the protocol, and replies are read by the grammars of `judges/reply.py` and `judges/reply_numbers.py`;
judgments travel to rank 0, which appends them to `judgments/<judge>.jsonl`. Started again, it does what is still
missing. It edits nothing.
"""

import contextlib
import functools
import logging

from editbench import cli
from editbench.components.load import open_dataset
from editbench.config.schema import Config
from editbench.errors import StoppedError, UserError
from editbench.job import Job
from editbench.judges.batches import BatchJudge, add_up, describe_mode
from editbench.judges.placement import place
from editbench.plan import planned_dataset, show_dry_run
from editbench.run.records import JudgeTask, Judgment
from editbench.run.sinks import JudgmentSink
from editbench.todo import Todo, all_edited, cut_batches, find_judge_tasks, read_edited_plan, withdraw_judgments

logger = logging.getLogger("editbench.score")


def main(config: Config) -> int:
    """Judge what is missing; returns the exit code."""
    if config.dry_run:
        return show_dry_run(config, "score")
    with Job("score", config) as job:
        todo = job.take_stock(lambda: find_missing(config, job))
        if todo.tasks:
            score_all(config, job, todo)
    return job.exit_code


def find_missing(config: Config, job: Job) -> Todo[JudgeTask, Judgment]:
    """On rank 0: find edited samples without a judgment of these settings."""
    folder = job.folder
    plan = read_edited_plan(folder)
    todo = find_judge_tasks(config, folder, plan, job.checkpoint)
    if not todo.total and not all_edited(plan, folder.read_edits()):
        raise UserError(f"{folder.root}: no planned sample has an edited image yet; run the edit phase first")
    if todo.total < len(plan.samples):
        logger.warning("%d of %d planned samples have an edited image", todo.total, len(plan.samples))
    job.check_failures(todo)
    if not todo.tasks:
        folder.write_config(config.resolved, config.judge.name)
    return todo


def score_all(config: Config, job: Job, todo: Todo[JudgeTask, Judgment]) -> None:
    """Judge batches that no other replica has, each on its way to rank 0 behind the next."""
    job.begin(todo)
    job.session.loaded(describe_mode(config.judge))
    reads_dataset = config.judge_reads_dataset or config.score.controls
    dataset = open_dataset(planned_dataset(config, job.folder)) if reads_dataset else None
    placement = place(config, job.group, job.checkpoint)
    batches = cut_batches(todo.tasks, placement.batch_size)
    on = placement.devices(job.ranks.rank, len(batches))
    judge = job.load(on, batch_size=placement.batch_size, batches=len(batches))
    if judge and config.judge.mode == "expected":
        with contextlib.suppress(StoppedError):  # then no batch is drawn either
            judge.check_labels(list(config.judge.labels))
    with job.results(lambda: open_sink(config, job, todo)) as results:
        draws = job.draws("batches", batches if judge else [])
        batch_judge = BatchJudge(judge, dataset, config, job.folder, placement.batch_size)
        for judgments in batch_judge.run(draws, job.stopping):
            results.put(functools.partial(list, judgments))
    job.session.loaded(add_up(job.group.all_gather(judge.counted() if hasattr(judge, "counted") else {})))


def open_sink(config: Config, job: Job, todo: Todo[JudgeTask, Judgment]) -> JudgmentSink:
    """On rank 0, when all ranks have loaded: withdraw the judgments that are made anew, and take the new ones."""
    withdraw_judgments(todo.tasks, job.folder, config.judge.name)
    job.folder.write_config(config.resolved, config.judge.name)
    return JudgmentSink(job.folder, config.judge.name, todo.kept, job.session)


if __name__ == "__main__":
    cli.run(main, __doc__)
