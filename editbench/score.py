"""Phase 2: let the judge score every edited image, in batches, a replica per process where it fits.

    torchrun --nproc_per_node=6 -m editbench.score run_name=mine judge=qwen3_vl

It judges the samples of the run's plan. Batches of one category and similar length are cut from it, and each replica
takes the next batch that nobody has, so no reply depends on the number of processes. Replies are read by the grammar of
`judges/reply.py`; judgments travel to rank 0, which appends them to `judgments/<judge>.jsonl`. Started again, it does
what is still missing. It edits nothing.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from editbench import cli, logs
from editbench.components.checkpoint import Checkpoint
from editbench.components.load import construct, copied_bytes, find_checkpoint, open_dataset
from editbench.config.schema import ComponentConfig, Config
from editbench.distributed import devices
from editbench.distributed import group as distributed
from editbench.distributed.gather import Gather
from editbench.distributed.group import Ranks
from editbench.distributed.preemption import EXIT_PREEMPTED, Preempted, Preemption
from editbench.errors import UserError
from editbench.judges.base import Judge
from editbench.judges.batches import BatchJudge, describe_mode
from editbench.plan import ensure_plan, show_dry_run
from editbench.redaction import restore
from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines
from editbench.run.records import Judgment, to_dict
from editbench.run.session import Session, check_failures, component_facts
from editbench.todo import JudgeTask, cut_batches, find_judge_tasks, judge_task, refuse_lost, withdraw_judgments

logger = logging.getLogger("editbench.score")


def main(config: Config) -> int:
    """Judge what is missing; returns the exit code."""
    ranks = Ranks.from_env()
    run_dir = RunDir(config.run_dir)
    if config.dry_run:
        if ranks.rank == 0:
            _dry_run(config, ranks, run_dir)
        return 0
    with Preemption() as preemption, distributed.process_group(ranks, config.distributed):
        logs.set_up("score", ranks.rank, run_dir.create(), config.log_level)
        checkpoint = distributed.node_first(ranks, lambda: find_checkpoint(config.judge, download=True))
        tasks, kept, session = _prepare(config, ranks, run_dir, checkpoint)
        if not tasks:
            logger.info("nothing is left to judge (failed samples are tried again with retry_failed=true)")
            return 0
        with session or contextlib.nullcontext():
            preempted = _judge_all(config, ranks, run_dir, checkpoint, tasks, kept, session, preemption)
    if preempted:
        logger.warning("preempted: no more batches were started; the same command goes on from here")
    return EXIT_PREEMPTED if preempted else 0


class JudgmentWriter:
    """Writes judgments as they arrive on rank 0."""

    def __init__(self, run_dir: RunDir, judge: str, kept: Sequence[Judgment], session: Session) -> None:
        self._file = JsonLines(run_dir.judgments_of(judge))
        before = [judgment.score for judgment in kept if judgment.score is not None]
        self._sum, self._scored = math.fsum(before), len(before)
        self._session = session

    def handle(self, payload: bytes) -> None:
        """Take the judgments of one batch."""
        judgments = [Judgment(**fields) for fields in json.loads(payload)]
        batch = [judgment.score for judgment in judgments if judgment.score is not None]
        self._sum, self._scored = self._sum + math.fsum(batch), self._scored + len(batch)
        facts = f"mean {_mean(self._sum, self._scored)}, of the last batch {_mean(math.fsum(batch), len(batch))}"
        logger.debug("batch of %d: %s", len(judgments), facts)
        self._file.append(*judgments)
        for judgment in judgments:
            self._session.count(judgment.state, facts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _prepare(
    config: Config, ranks: Ranks, run_dir: RunDir, checkpoint: Checkpoint | None
) -> tuple[Sequence[JudgeTask], list[Judgment], Session | None]:
    """Find the tasks on rank 0 and give them to all; session and kept judgments are rank 0's alone."""
    session = None
    kept: list[Judgment] = []
    tasks: list[JudgeTask] = []

    def find() -> None:
        nonlocal session, kept, tasks
        run_dir.lock("score")
        plan = run_dir.read_plan()
        if plan is None or not run_dir.edits_index.exists():
            raise UserError(f"{run_dir.root}: nothing was edited here; run the edit phase first, or give its run_name")
        edits = run_dir.read_edits()
        refuse_lost(run_dir, run_dir.lost_images(edits))
        tasks, kept = find_judge_tasks(config, run_dir, plan, checkpoint)
        if not tasks and not kept and len(edits) < len(plan.samples):
            raise UserError(f"{run_dir.root}: no planned sample has an edited image yet; run the edit phase first")
        run_dir.write_config(config.resolved, config.judge.name)
        states, total = Counter(judgment.state for judgment in kept), len(tasks) + len(kept)
        if total < len(plan.samples):
            logger.warning("%d of %d planned samples have an edited image", total, len(plan.samples))
        check_failures("score", states, total, config.max_failed)
        if tasks:
            withdraw_judgments(tasks, run_dir, config.judge.name)
            component = component_facts(config.judge, checkpoint) | describe_mode(config.judge)
            session = Session(run_dir, "score", total, states, config.max_failed, component)
        else:
            run_dir.write_status("score", "done", total, total - states["scored"], total)

    distributed.on_rank_0(ranks, find)
    return distributed.share(ranks, tasks, judge_task), kept, session


def _judge_all(
    config: Config,
    ranks: Ranks,
    run_dir: RunDir,
    checkpoint: Checkpoint | None,
    tasks: Sequence[JudgeTask],
    kept: list[Judgment],
    session: Session | None,
    preemption: Preemption,
) -> bool:
    """Let each replica draw batches, and send the judgments to rank 0; returns whether preempted."""
    dataset = open_dataset(_planned_dataset(run_dir, config)) if config.judge.compare_with_original else None
    try:
        with preemption.at_once():
            judge, batches, facts = _load(config, ranks, checkpoint, tasks)
    except Preempted:
        distributed.leave_preempted(ranks)
        if session:
            session.preempted = True
        return True
    if session:
        session.loaded(judge.describe() if judge else {}, **facts)
    writer = session and JudgmentWriter(run_dir, config.judge.name, kept, session)
    timeout_s = config.distributed.timeout_s
    with Gather(writer.handle if writer else None, timeout_s, session.fail if session else None) as gather:
        if judge:
            drawn = distributed.draw("batches", batches, ranks)
            for judgments in BatchJudge(judge, dataset, config, run_dir).run(drawn, lambda: preemption.requested):
                gather.put(functools.partial(_payload, judgments))
        if preemption.requested:
            distributed.stop_drawing()
    stopped = distributed.barrier(preemption.requested)
    if writer:
        writer.close()
    return bool(distributed.on_rank_0(ranks, lambda: session and session.is_preempted(stopped)))


def _load(
    config: Config, ranks: Ranks, checkpoint: Checkpoint | None, tasks: Sequence[JudgeTask]
) -> tuple[Judge | None, list[list[JudgeTask]], dict[str, Any]]:
    """Construct this rank's replica, or None if it gets none or there are fewer batches; and cut the batches.

    Returns:
        The judge, the batches, and facts of the loading for the report.
    """
    placed, batch_size = _place(config, ranks, checkpoint)
    batches = cut_batches(tasks, batch_size)
    active = [rank for rank, replica in enumerate(placed) if replica][: len(batches)]
    mine = placed[ranks.rank] if ranks.rank in active else []
    judge: Judge | None = None
    began = time.monotonic()
    with distributed.loading_turn(ranks, config.judge.max_concurrent_loads, copied_bytes(config.judge, checkpoint)):
        if mine:
            devices.use(mine[0])
            judge = construct(config.judge, "judge", checkpoint, devices=mine)
            if config.judge.mode == "expected":
                judge.check_labels(list(config.judge.labels))
    on = distributed.all_gather(devices.describe(mine))
    took = round(time.monotonic() - began, 3)
    facts: dict[str, Any] = {"world_size": ranks.world_size, "devices": on, "load_s": took}
    if mine:
        facts["load_peak_gib"] = devices.peak_gib(mine[0])
    logger.info("%d batches of up to %d on %d replicas", len(batches), batch_size, len(active))
    return judge, batches, facts | {"batch_size": batch_size, "batches": len(batches)}


def _place(config: Config, ranks: Ranks, checkpoint: Checkpoint | None) -> tuple[list[list[str]], int]:
    """Find every rank's replica, and the batch size: the same on all, by the smallest GPU."""
    measured = devices.measure(devices.usable_devices(config.device_ids)) if ranks.local_rank == 0 else []
    everywhere = distributed.all_gather([dataclasses.asdict(device) for device in measured])
    on_this_node = [devices.Device(**device) for device in everywhere[ranks.rank - ranks.local_rank]]
    size = checkpoint.size_bytes if checkpoint else 0
    placement = devices.place_replicas(size, on_this_node, ranks.local_world_size, config.judge.devices_per_replica)
    totals = [device["total_bytes"] for node in everywhere for device in node]
    batch_size = config.judge.batch_size
    if not isinstance(batch_size, int):
        batch_size = devices.auto_batch_size(min(totals, default=None))
    return distributed.all_gather(placement[ranks.local_rank]), batch_size


def _dry_run(config: Config, ranks: Ranks, run_dir: RunDir) -> None:
    plan = run_dir.read_plan() or ensure_plan(config, run_dir)
    tasks, kept = find_judge_tasks(config, run_dir, plan, find_checkpoint(config.judge, download=False))
    size = config.judge.batch_size
    batches = cut_batches(tasks, size if isinstance(size, int) else devices.auto_batch_size(None))
    logs.console().print(f"{len(tasks)} samples to score, in {len(batches)} batches that {ranks.world_size} ranks draw")
    show_dry_run(config, config.judge, "score", len(kept))


def _planned_dataset(run_dir: RunDir, config: Config) -> ComponentConfig:
    """The dataset that the plan was made from, whatever dataset this start's overrides name."""
    plan = run_dir.read_plan()
    if plan is None:
        raise UserError(f"{run_dir.plan} was removed while the phase was running; start it again")
    made_from = plan.made_from["dataset"]
    return ComponentConfig(made_from["class"], "dataset", restore(made_from["kwargs"], config.dataset.kwargs))


def _mean(total: float, count: int) -> str:
    return f"{total / count:.3f}" if count else "–"


def _payload(judgments: list[Judgment]) -> bytes:
    return json.dumps([to_dict(judgment) for judgment in judgments]).encode()


if __name__ == "__main__":
    cli.run(main, __doc__)
