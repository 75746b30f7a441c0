"""Phase 2: let the judge score every edited image, in batches, a replica per process where it fits.

    torchrun --nproc_per_node=6 -m editbench.score run_name=mine judge=qwen3_vl

Batches are cut from the edited samples in plan order and batch b goes to process b mod n, so no reply depends on
the number of processes. Replies are read by the grammar of `judges/reply.py`; judgments travel to rank 0, which
appends them to `judgments/<judge>.jsonl`. Started again, it does what is still missing. It edits nothing.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import re
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from editbench import cli, devices, distributed, images, logs
from editbench.checkpoints import Checkpoint
from editbench.config import Config, RubricConfig
from editbench.datasets import Dataset
from editbench.distributed import Gather, Ranks, deal
from editbench.errors import UserError
from editbench.identity import component_identity, judgment_unit, refuse_changed
from editbench.judges import Judge, Request
from editbench.judges.reply import parse_score
from editbench.plan import construct, ensure_plan, find_checkpoint, open_dataset, show_dry_run
from editbench.records import Edit, Judgment, Sample, to_dict
from editbench.run_dir import JsonLines, Plan, RunDir
from editbench.session import Session, component_facts
from editbench.shards import read_image

DECIDING_KEYS = ("judge.", "rubrics.", "dataset.language")
"""Keys of the configuration that can change a judgment."""

RETRY_PROMPT = (
    "No score can be read from that reply. Reply again with one line and nothing else, "
    "a number from 0.000 to 10.000 in this form: Score: <number>"
)
"""What the judge is told when its reply holds no score."""

logger = logging.getLogger("editbench.score")


@dataclasses.dataclass(frozen=True)
class Task:
    """One judgment to be made.

    Attributes:
        position: Place among all edited samples in plan order; batches are cut by it.
        sample, edit: What is judged.
        unit: What the judgment will count as.
    """

    position: int
    sample: Sample
    edit: Edit
    unit: str


def main(config: Config) -> None:
    """Judge what is missing."""
    ranks = Ranks.from_env()
    run_dir = RunDir(config.run_dir)
    if config.dry_run:
        if ranks.rank == 0:
            _dry_run(config, ranks, run_dir)
        return
    with distributed.process_group(ranks, config.distributed):
        logs.set_up("score", ranks.rank, run_dir.create(), config.log_level)
        checkpoint = distributed.node_first(ranks, lambda: find_checkpoint(config.judge, download=True))
        tasks, kept, session = _prepare(config, ranks, run_dir, checkpoint)
        if not tasks:
            logger.info("every edited sample is judged already")
            return
        with session or contextlib.nullcontext():
            _judge_all(config, ranks, run_dir, checkpoint, tasks, kept, session)


def find_tasks(
    config: Config, run_dir: RunDir, plan: Plan, checkpoint: Checkpoint | None
) -> tuple[list[Task], list[Judgment]]:
    """Find what is to be judged: edited samples without a judgment of their image, failed ones if so configured.

    Returns:
        The tasks in plan order, and the judgments that stay as they are.

    Raises:
        UserError: there are judgments made with other settings, and `on_change` is `stop`.
    """
    judge = component_identity(config.judge, checkpoint) | {"max_retries": config.judge.max_retries}
    comparable = checkpoint is not None or "checkpoint" not in config.judge.kwargs  # not so in a dry run elsewhere
    edits, judgments = run_dir.read_edits(), run_dir.read_judgments(config.judge.name)
    edited = [sample for sample in plan.samples if sample.sample_id in edits and edits[sample.sample_id].sha256]
    tasks: list[Task] = []
    kept: list[Judgment] = []
    changed = 0
    for position, sample in enumerate(edited):
        edit, judgment = edits[sample.sample_id], judgments.get(sample.sample_id)
        shown = [sample.source_sha256] * config.judge.compare_with_original + [edit.sha256 or ""]
        unit = judgment_unit(shown, [*_prompts(config, sample), RETRY_PROMPT], judge)
        if judgment is not None and judgment.image_sha256 != edit.sha256:
            judgment = None  # it is of an earlier edit
        differs = judgment is not None and comparable and judgment.unit != unit
        changed += differs
        if judgment is None or differs or (config.retry_failed and judgment.state != "scored"):
            tasks.append(Task(position, sample, edit, unit))
        else:
            kept.append(judgment)
    if changed and config.on_change == "stop":
        raise refuse_changed("judgments", changed, run_dir.read_config(), config.resolved, DECIDING_KEYS)
    return tasks, kept


def cut_batches(tasks: Sequence[Task], batch_size: int) -> list[list[Task]]:
    """Cut tasks into batches by their position, so that a resumed run has the same batches less what is done."""
    batches: dict[int, list[Task]] = {}
    for task in tasks:
        batches.setdefault(task.position // batch_size, []).append(task)
    return list(batches.values())


class BatchJudge:
    """Judges batches: builds the requests, asks, parses, asks again; whatever fails alone is put on record.

    Args:
        judge: The judge.
        dataset: Where source images come from; only asked if the judge sees them.
        config: The run.
        run_dir: Where the edited images lie.
    """

    def __init__(self, judge: Judge, dataset: Dataset, config: Config, run_dir: RunDir) -> None:
        self._judge, self._dataset, self._config, self._run_dir = judge, dataset, config, run_dir

    def judge(self, batch: Sequence[Task]) -> list[Judgment]:
        """Judge one batch; returns one judgment per task, in order."""
        started = time.monotonic()
        judgments = [
            Judgment(task.sample.sample_id, task.sample.category, "unparsed", task.unit, task.edit.sha256 or "")
            for task in batch
        ]
        waiting = []
        for task, judgment in zip(batch, judgments, strict=True):
            try:
                waiting.append((judgment, self._request(task)))
            except Exception as error:
                _fail(judgment, error)
        for _ in range(1 + self._config.judge.max_retries):
            waiting = self._ask_and_parse(waiting)
        for judgment in judgments:
            judgment.latency_s = round((time.monotonic() - started) / len(batch), 4)
        return judgments

    def _ask_and_parse(self, waiting: list[tuple[Judgment, Request]]) -> list[tuple[Judgment, Request]]:
        """Ask once for all that still wait; returns those whose reply holds no score, with the next request."""
        unparsed = []
        answers = ask([request for _, request in waiting], self._judge) if waiting else []
        for (judgment, request), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, Exception):
                _fail(judgment, answer)
                continue
            if judgment.reply is not None:
                judgment.earlier_replies.append(judgment.reply)
                judgment.retries += 1
            judgment.reply, judgment.score = answer, parse_score(answer)
            if judgment.score is None:
                followups = (*request.followups, (answer, RETRY_PROMPT))
                unparsed.append((judgment, dataclasses.replace(request, followups=followups)))
            else:
                judgment.state = "scored"
        return unparsed

    def _request(self, task: Task) -> Request:
        sample, edit = task.sample, task.edit
        if edit.shard is None or edit.offset is None or edit.length is None or edit.sha256 is None:
            raise ValueError("the index names no image for this sample")
        png = read_image(self._run_dir.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        shown = [images.decode_rgb(png)]
        if self._config.judge.compare_with_original:
            shown.insert(0, images.decode_rgb(self._dataset.read(sample.locator).source))
        system, user = _prompts(self._config, sample)
        return Request(sample.index, system, user, tuple(shown))


def ask(requests: Sequence[Request], judge: Judge) -> list[str | Exception]:
    """Ask for one batch; a batch that fails is halved until what fails stands alone.

    Returns:
        For each request its reply, or the exception that it raised when asked alone.
    """
    try:
        replies = judge.reply(requests)
        if len(replies) != len(requests):
            raise ValueError(f"the judge gave {len(replies)} replies to {len(requests)} requests")
        return list(replies)
    except Exception as error:
        if len(requests) == 1:
            return [error]
        logger.warning("a batch of %d failed and is halved: %s: %s", len(requests), type(error).__name__, error)
    devices.empty_cache()  # outside the except clause: the exception holds on to the batch's tensors
    middle = len(requests) // 2
    return ask(requests[:middle], judge) + ask(requests[middle:], judge)


def render(template: str, sample: Sample) -> str:
    """Fill in a rubric's template in one pass, so that braces in a description or instruction stay as they are."""
    values = {"original_description": sample.description, "edit_instruction": sample.instruction}
    return re.sub(r"\{(original_description|edit_instruction)\}", lambda match: values[match.group(1)], template)


class JudgmentWriter:
    """Writes judgments as they arrive on rank 0."""

    def __init__(self, run_dir: RunDir, judge: str, kept: Sequence[Judgment], session: Session) -> None:
        self._file = JsonLines(run_dir.judgments_of(judge))
        self._scores = [judgment.score for judgment in kept if judgment.score is not None]
        self._session = session

    def handle(self, payload: bytes) -> None:
        """Take the judgments of one batch."""
        judgments = [Judgment(**fields) for fields in json.loads(payload)]
        for judgment in judgments:
            self._file.append(judgment)
            if judgment.score is not None:
                self._scores.append(judgment.score)
            mean = f"mean {statistics.fmean(self._scores):.3f}" if self._scores else "no score yet"
            self._session.count(judgment.state, mean)
        batch = [judgment.score for judgment in judgments if judgment.score is not None]
        logger.debug("batch of %d: mean %s", len(judgments), statistics.fmean(batch) if batch else None)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _prepare(
    config: Config, ranks: Ranks, run_dir: RunDir, checkpoint: Checkpoint | None
) -> tuple[list[Task], list[Judgment], Session | None]:
    """Find the tasks on rank 0 and give them to all; session and kept judgments are rank 0's alone."""
    session = None
    kept: list[Judgment] = []

    def find() -> list[dict[str, Any]]:
        nonlocal session, kept
        plan = ensure_plan(config, run_dir)
        tasks, kept = find_tasks(config, run_dir, plan, checkpoint)
        run_dir.write_config(config.resolved)
        states, total = Counter(judgment.state for judgment in kept), len(tasks) + len(kept)
        if not run_dir.read_edits():
            raise UserError(f"{run_dir.root}: there is no edited image to judge; run the edit phase first")
        if total < len(plan.samples):
            logger.warning("%d of %d planned samples have an edited image", total, len(plan.samples))
        if tasks:
            component = component_facts(config.judge, checkpoint)
            session = Session(run_dir, "score", total, states, config.max_failed, component)
        else:
            run_dir.write_status("score", "done", total, total - states["scored"], total)
        return [dataclasses.asdict(task) for task in tasks]

    dealt = distributed.on_rank_0(ranks, find)
    tasks = [Task(t["position"], Sample(**t["sample"]), Edit(**t["edit"]), t["unit"]) for t in dealt]
    return tasks, kept, session


def _judge_all(
    config: Config,
    ranks: Ranks,
    run_dir: RunDir,
    checkpoint: Checkpoint | None,
    tasks: list[Task],
    kept: list[Judgment],
    session: Session | None,
) -> None:
    """Place the replicas, deal the batches to them, and send the judgments to rank 0."""
    placed, batch_size = _place(config, ranks, checkpoint)
    batches = cut_batches(tasks, batch_size)
    active = [rank for rank, replica in enumerate(placed) if replica][: len(batches)]
    shares = dict(zip(active, deal(batches, len(active)), strict=True))
    mine = placed[ranks.rank] if ranks.rank in shares else []
    started = time.monotonic()
    with distributed.loading_turn(ranks, config.judge.max_concurrent_loads, checkpoint):
        judge = construct(config.judge, "judge", checkpoint, devices=mine) if mine else None
    on = distributed.all_gather(devices.describe(mine))
    writer = None
    if session:
        facts = {"world_size": ranks.world_size, "devices": on, "load_s": round(time.monotonic() - started, 3)}
        session.loaded(judge.describe() if judge else {}, **facts, batch_size=batch_size, batches=len(batches))
        shown = [[task.sample for batch in shares.get(rank, []) for task in batch] for rank in range(len(placed))]
        logs.console().print(logs.assignment_table(shown, f"to score in batches of {batch_size}"))
        writer = JudgmentWriter(run_dir, config.judge.name, kept, session)
    incoming = sum(len(share) for rank, share in shares.items() if rank != 0)
    with Gather(writer.handle if writer else None, incoming, config.distributed.timeout_s) as gather:
        if judge:
            batch_judge = BatchJudge(judge, open_dataset(config), config, run_dir)
            for batch in shares[ranks.rank]:
                gather.put(functools.partial(_payload, batch_judge.judge(batch)))
    if writer:
        writer.close()


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
    plan = ensure_plan(config, run_dir)
    tasks, kept = find_tasks(config, run_dir, plan, find_checkpoint(config.judge, download=False))
    size = config.judge.batch_size
    batches = cut_batches(tasks, size if isinstance(size, int) else devices.auto_batch_size(None))
    shares = [[task.sample for batch in share for task in batch] for share in deal(batches, ranks.world_size)]
    show_dry_run(config, config.judge, "score", shares, len(kept))


def _prompts(config: Config, sample: Sample) -> tuple[str, str]:
    """The system and user prompt of a sample."""
    rubric: RubricConfig = config.rubrics[sample.category]
    template = rubric.user_template_with_source if config.judge.compare_with_original else rubric.user_template
    return rubric.system_prompt, render(template, sample)


def _fail(judgment: Judgment, error: Exception) -> None:
    judgment.state = "judge_failed"
    judgment.error_type, judgment.error = type(error).__name__, str(error)
    logger.warning("sample %s: %s: %s", logs.printable(judgment.sample_id), judgment.error_type, error)
    logger.debug("the traceback", exc_info=error)


def _payload(judgments: list[Judgment]) -> bytes:
    return json.dumps([to_dict(judgment) for judgment in judgments]).encode()


if __name__ == "__main__":
    cli.run(main, __doc__)
