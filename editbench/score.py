"""Phase 2: let the judge score every edited image, in batches, a replica per process where it fits.

    torchrun --nproc_per_node=6 -m editbench.score run_name=mine judge=qwen3_vl

It judges the samples of the run's plan. Batches of one category and similar length are cut from it, and each replica
takes the next batch that nobody has, so no reply depends on the number of processes. Replies are read by the grammar of
`judges/reply.py`; judgments travel to rank 0, which appends them to `judgments/<judge>.jsonl`. Started again, it does
what is still missing. It edits nothing.
"""

import functools
import logging
from collections.abc import Iterator, Sequence

from editbench import cli
from editbench.components.checkpoint import Checkpoint
from editbench.components.load import open_dataset
from editbench.config.schema import ComponentConfig, Config
from editbench.errors import UserError
from editbench.job import Job
from editbench.judges.batches import BatchJudge, describe_mode
from editbench.judges.placement import place
from editbench.plan import show_dry_run
from editbench.run.folder import Plan
from editbench.run.records import Judgment
from editbench.run.session import check_failures
from editbench.run.sinks import JudgmentSink
from editbench.text import restore
from editbench.todo import JudgeTask, Todo, cut_batches, find_judge_tasks, refuse_lost, withdraw_judgments

logger = logging.getLogger("editbench.score")


def main(config: Config) -> int:
    """Judge what is missing; returns the exit code."""
    if config.dry_run:
        return show_dry_run(config, "score")
    with Job("score", config) as job:
        checkpoint = job.find_checkpoint(config.judge)
        todo = job.plan(lambda: find_missing(config, job, checkpoint))
        if todo.tasks:
            score_all(config, job, checkpoint, todo)
    return job.exit_code


def find_missing(config: Config, job: Job, checkpoint: Checkpoint | None) -> Todo[JudgeTask, Judgment]:
    """On rank 0: find edited samples without a judgment, and withdraw the judgments that are made anew."""
    folder, judge = job.folder, config.judge.name
    plan = _plan(job)
    edits = folder.read_edits()
    refuse_lost(folder, folder.lost_images(edits))
    todo = find_judge_tasks(config, folder, plan, checkpoint)
    if not todo.total and len(edits) < len(plan.samples):
        raise UserError(f"{folder.root}: no planned sample has an edited image yet; run the edit phase first")
    if todo.total < len(plan.samples):
        logger.warning("%d of %d planned samples have an edited image", todo.total, len(plan.samples))
    check_failures("score", todo.states, todo.total, config.max_failed)
    withdraw_judgments(todo.tasks, folder, judge)
    folder.write_config(config.resolved, judge)
    return todo


def score_all(config: Config, job: Job, checkpoint: Checkpoint | None, todo: Todo[JudgeTask, Judgment]) -> None:
    """Judge batches that no other replica has, each on its way to rank 0 behind the next."""
    job.begin(todo, config.judge, checkpoint)
    job.session.loaded(describe_mode(config.judge))
    dataset = open_dataset(planned_dataset(_plan(job), config)) if config.judge.compare_with_original else None
    placement = place(config, job.group, checkpoint)
    batches = cut_batches(todo.tasks, placement.batch_size)
    on = placement.devices(job.ranks.rank, len(batches))
    judge = job.load(config.judge, checkpoint, on, batch_size=placement.batch_size, batches=len(batches))
    if judge and config.judge.mode == "expected":
        judge.check_labels(list(config.judge.labels))
    with job.results(lambda: JudgmentSink(job.folder, config.judge.name, todo.kept, job.session)) as results:
        drawn = _drawn(job, batches if judge else [])
        for judgments in BatchJudge(judge, dataset, config, job.folder).run(drawn, job.stopping):
            results.put(functools.partial(list, judgments))


def _drawn(job: Job, batches: Sequence[list[JudgeTask]]) -> Iterator[list[JudgeTask] | None]:
    for batch, following in job.draws("batches", batches):
        yield batch
        if following is None:
            yield None


def planned_dataset(plan: Plan, config: Config) -> ComponentConfig:
    """The dataset that the plan was made from, whatever dataset this start's overrides name."""
    made_from = plan.made_from["dataset"]
    return ComponentConfig(made_from["class"], "dataset", restore(made_from["kwargs"], config.dataset.kwargs))


def _plan(job: Job) -> Plan:
    plan = job.folder.read_plan()
    if plan is None or not job.folder.edits_index.exists():
        raise UserError(f"{job.folder.root}: nothing was edited here; run the edit phase first, or give its run_name")
    return plan


if __name__ == "__main__":
    cli.run(main, __doc__)
