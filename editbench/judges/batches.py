"""Judges batches of samples: builds the requests, asks, reads the scores, and has replies without one completed.

While a batch is on the device, those behind it are read, decoded and prepared in background threads. A batch that fails
is halved until what fails stands alone; that sample is put on record as failed. No failure and no answer is ever turned
into a score here: scores come from `judges/reply.py`, `reply_numbers.py` and `labels.py` alone.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from editbench import images
from editbench.config.schema import ANSWER_START, Config, JudgeConfig
from editbench.datasets.base import Dataset, read_reference, read_sources
from editbench.errors import StoppedError
from editbench.judges.ahead import preparation_workers, work_ahead
from editbench.judges.answers import fail, read_probabilities, read_reply
from editbench.judges.base import Judge, Request
from editbench.judges.combine import combine
from editbench.judges.controls import stand_in
from editbench.judges.halving import ask
from editbench.judges.prompts import Criterion, criteria_for, prompts
from editbench.judges.repeats import merge, with_seeds
from editbench.judges.reply import continuation
from editbench.run.folder import RunDir
from editbench.run.records import JudgeTask, Judgment
from editbench.run.shards import read_edited

logger = logging.getLogger(__name__)


@dataclass
class Part:
    """A batch on its way under one criterion.

    Attributes:
        criteria: What is asked of the samples that are judged under it, by position in the batch.
        judgments: Theirs, filled in as things become known.
        requests: Theirs; none for a sample that has failed already.
        prepared: What the judge made of the requests; None where that failed.
    """

    criteria: dict[int, Criterion] = field(default_factory=dict)
    judgments: dict[int, Judgment] = field(default_factory=dict)
    requests: dict[int, Request] = field(default_factory=dict)
    prepared: Any = None


@dataclass
class Batch:
    """A batch on its way.

    Attributes:
        size: How many samples it has.
        parts: Under which criteria, by name; each is a batch of requests that begin alike.
        seconds: Time spent on it so far.
    """

    size: int
    parts: dict[str, Part] = field(default_factory=dict)
    seconds: float = 0.0


class BatchJudge:
    """Judges batches, one after the other.

    Args:
        judge: The judge.
        dataset: Where source images come from; None if the judge does not see them.
        config: The run.
        run_dir: Where the edited images lie.
        batch_size: What batches are cut to, to be put on record.
    """

    def __init__(
        self, judge: Judge, dataset: Dataset | None, config: Config, run_dir: RunDir, batch_size: int | None = None
    ) -> None:
        self._judge, self._dataset, self._config, self._run_dir = judge, dataset, config, run_dir
        self._batch_size = batch_size
        self._expects = config.judge.mode == "expected"

    def run(
        self,
        draws: Iterable[tuple[Sequence[JudgeTask], Sequence[JudgeTask] | None]],
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Judgment]]:
        """Judge batches in order; while one is on the device, those behind it are prepared.

        Args:
            draws: Batches as `Job.draws` gives them, each with the one that follows it, or None if none may be taken
                before it is judged.
            stop: Once it gives true, no batch is taken or begun any more, and one that would have to wait for a server
                is left for the next start.

        Yields:
            For each batch one judgment per task, in order.
        """
        workers = preparation_workers()
        with ThreadPoolExecutor(workers, "prepare") as pool:
            for batch in work_ahead(lambda tasks: pool.submit(self.prepare, tasks), draws, workers, stop):
                try:
                    judgments = self.judge(batch)
                except StoppedError:
                    return
                yield judgments

    def prepare(self, tasks: Sequence[JudgeTask]) -> Batch:
        """Do for a batch all that needs no device; called from several threads at once."""
        started = time.monotonic()
        batch = Batch(len(tasks))
        for position, task in enumerate(tasks):
            criteria = criteria_for(self._config, task.sample)
            parts = [batch.parts.setdefault(one.name, Part()) for one in criteria]
            for part, criterion in zip(parts, criteria, strict=True):
                part.criteria[position] = criterion
                part.judgments[position] = task.judgment("unparsed")
                part.judgments[position].batch_size = self._batch_size
            try:
                for part, request in zip(parts, self.requests(task), strict=True):
                    part.requests[position] = request
            except Exception as error:
                for part in parts:
                    fail(part.judgments[position], error)
        for part in batch.parts.values():
            try:
                part.prepared = self._judge.prepare(list(part.requests.values())) if part.requests else None
            except Exception:
                logger.debug("a batch could not be prepared and is tried again", exc_info=True)
        batch.seconds = time.monotonic() - started
        return batch

    def judge(self, batch: Batch) -> list[Judgment]:
        """Ask under each criterion, with `judge.repeats` several times; what lacks its score is completed first."""
        started = time.monotonic()
        repeats = [self._judge_once(batch, number) for number in range(self._config.judge.repeats)]
        judgments = repeats[0] if len(repeats) == 1 else [merge(of_one) for of_one in zip(*repeats, strict=True)]
        batch.seconds += time.monotonic() - started
        for judgment in judgments:
            judgment.latency_s = round(batch.seconds / len(judgments), 4)
        return judgments

    def _judge_once(self, batch: Batch, repeat: int) -> list[Judgment]:
        """Judge a batch that stays as it was prepared, by the seeds of one repeat."""
        answered = {name: self._ask_under(part, repeat) for name, part in batch.parts.items()}
        return [
            combine({name: of[position] for name, of in answered.items() if position in of}, self._config.protocol)
            for position in range(batch.size)
        ]

    def _ask_under(self, prepared: Part, repeat: int) -> dict[int, Judgment]:
        """Ask a batch under one criterion, and let the judge complete what lacks its score."""
        judgments = {position: dataclasses.replace(one) for position, one in prepared.judgments.items()}
        part = dataclasses.replace(prepared, judgments=judgments)
        part.requests = self._seeded(part, repeat)
        self._ask(part)
        if self._config.judge.complete_replies and not self._expects:
            completable = [i for i in part.requests if part.criteria[i].can_be_completed]
            unread = [i for i in completable if judgments[i].state == "unparsed"]
            begun = {i: continuation(judgments[i].reply or "") for i in unread}
            requests = {
                i: dataclasses.replace(part.requests[i], answer_start=begun[i], wanted="number") for i in unread
            }
            more = dataclasses.replace(part, requests=requests, prepared=None)
            more.requests = self._seeded(more, repeat)
            self._ask(more)
        return judgments

    def _seeded(self, part: Part, repeat: int) -> dict[int, Request]:
        is_sampling = self._config.judge.is_sampling
        return with_seeds(part.requests, part.judgments, repeat) if is_sampling else part.requests

    def _ask(self, part: Part) -> None:
        """Put the answers to requests, and what they hold, into their judgments."""
        requests = list(part.requests.values())
        prepared = None if part.prepared is None else (part.prepared, _seeds(requests))
        answers = ask(requests, lambda some: (self._judge.prepare(some), _seeds(some)), self._answer, prepared)
        for position, answer in zip(part.requests, answers, strict=True):
            judgment = part.judgments[position]
            try:
                if isinstance(answer, Exception):
                    raise answer
                if self._expects:
                    read_probabilities(judgment, answer, self._config.judge)
                else:
                    read_reply(judgment, answer, part.criteria[position])
            except Exception as error:
                fail(judgment, error)

    def _answer(self, prepared_and_seeds: tuple[Any, list[int]]) -> list[Any]:
        prepared, seeds = prepared_and_seeds
        if self._expects:
            return list(self._judge.label_probabilities(prepared, list(self._config.judge.labels)))
        replies = self._judge.reply(prepared, seeds) if seeds else self._judge.reply(prepared)
        if not all(isinstance(reply, str | Exception) for reply in replies):
            raise TypeError(f"the judge gave {[type(reply).__name__ for reply in replies]}, replies must be str")
        return list(replies)

    def requests(self, task: JudgeTask) -> list[Request]:
        """What the judge is asked about a sample, one request per criterion; raises if its images cannot be read."""
        sample, edit = task.sample, task.edit
        edited = stand_in(
            task, images.decode_rgb(read_edited(self._run_dir.edits, edit)), lambda: self._read_sources(task)[0]
        )
        criteria, edit_first = criteria_for(self._config, sample), task.control == "swapped"
        shown = [edited]
        if any(criterion.with_source for criterion in criteria):
            sources = self._read_sources(task)
            shown = shown + sources if edit_first else sources + shown
        reference = self._read_reference(task) if any(criterion.with_reference for criterion in criteria) else []
        start: dict[str, Any] = {"answer_start": ANSWER_START, "wanted": "label"} if self._expects else {}
        return [
            Request(
                sample.index,
                *prompts(criterion, sample, edit_first),
                (*(shown if criterion.with_source else [edited]), *(reference if criterion.with_reference else [])),
                form=criterion.form,
                **start,
            )
            for criterion in criteria
        ]

    def _read_sources(self, task: JudgeTask) -> list[Image.Image]:
        if task.before:
            return [images.decode_rgb(read_edited(self._run_dir.edits, task.before))]
        return [images.decode_rgb(file) for file in read_sources(self._own_dataset(), task.sample)]

    def _read_reference(self, task: JudgeTask) -> list[Image.Image]:
        return [images.decode_rgb(read_reference(self._own_dataset(), task.sample), self._config.source)]

    def _own_dataset(self) -> Dataset:
        if self._dataset is None:
            raise ValueError("there is no dataset to read the source image from")
        return self._dataset


def _seeds(requests: Sequence[Request]) -> list[int]:
    """The seeds of requests; none for a judge that does not draw its replies."""
    return [request.seed for request in requests if request.seed is not None]


def describe_mode(judge: JudgeConfig) -> dict[str, Any]:
    """How the judge is asked, for the report."""
    if judge.mode == "generate":
        return {"mode": judge.mode, "complete_replies": judge.complete_replies}
    return {"mode": judge.mode, "labels": judge.labels, "min_label_mass": judge.min_label_mass}


def add_up(counted: Iterable[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """Add up what replicas have counted, by name and what is counted under it."""
    sums: dict[str, dict[str, int]] = {}
    for replica in counted:
        for name, counts in replica.items():
            total = sums.setdefault(name, {})
            for what, number in counts.items():
                total[what] = total.get(what, 0) + number
    return sums
