"""Judges batches of samples: builds the requests, asks, reads the scores, and has replies without one completed.

While a batch is on the device, those behind it are read, decoded and prepared in background threads. A batch that fails
is halved until what fails stands alone; that sample is put on record as failed. No failure and no answer is ever turned
into a score here: scores come from `judges/reply.py` and `judges/labels.py` alone.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from editbench import images
from editbench.config.schema import ANSWER_START, Config, JudgeConfig
from editbench.datasets.base import Dataset, read_sources
from editbench.distributed import devices
from editbench.errors import UserError
from editbench.judges.ahead import preparation_workers, work_ahead
from editbench.judges.base import Judge, Request
from editbench.judges.controls import stand_in
from editbench.judges.labels import read_labels
from editbench.judges.prompts import prompts
from editbench.judges.repeats import merge, with_seeds
from editbench.judges.reply import continuation, read_score
from editbench.run.folder import RunDir
from editbench.run.records import JudgeTask, Judgment
from editbench.run.shards import read_edited
from editbench.text import hide, printable

logger = logging.getLogger(__name__)


@dataclass
class Batch:
    """A batch on its way.

    Attributes:
        judgments: One per task, in order, filled in as things become known.
        requests: What is asked, by position in `judgments`; none for a sample that has failed already.
        prepared: What the judge made of the requests; None where that failed.
        seconds: Time spent on it so far.
    """

    judgments: list[Judgment]
    requests: dict[int, Request]
    prepared: Any = None
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
            stop: Once it gives true, no batch is taken or begun any more.

        Yields:
            For each batch one judgment per task, in order.
        """
        workers = preparation_workers()
        with ThreadPoolExecutor(workers, "prepare") as pool:
            for batch in work_ahead(lambda tasks: pool.submit(self.prepare, tasks), draws, workers, stop):
                yield self.judge(batch)

    def prepare(self, tasks: Sequence[JudgeTask]) -> Batch:
        """Do for a batch all that needs no device; called from several threads at once."""
        started = time.monotonic()
        batch = Batch([], {})
        for position, task in enumerate(tasks):
            judgment = task.judgment("unparsed")
            judgment.batch_size = self._batch_size
            batch.judgments.append(judgment)
            try:
                batch.requests[position] = self.request(task)
            except Exception as error:
                _fail(judgment, error)
        if batch.requests:
            try:
                batch.prepared = self._judge.prepare(list(batch.requests.values()))
            except Exception:
                logger.debug("a batch could not be prepared and is tried again", exc_info=True)
        batch.seconds = time.monotonic() - started
        return batch

    def judge(self, batch: Batch) -> list[Judgment]:
        """Ask, with `judge.repeats` several times, and let the judge complete what holds no score."""
        started = time.monotonic()
        repeats = [self._judge_once(batch, number) for number in range(self._config.judge.repeats)]
        judgments = repeats[0] if len(repeats) == 1 else [merge(of_one) for of_one in zip(*repeats, strict=True)]
        batch.seconds += time.monotonic() - started
        for judgment in judgments:
            judgment.latency_s = round(batch.seconds / len(judgments), 4)
        return judgments

    def _judge_once(self, prepared: Batch, repeat: int) -> list[Judgment]:
        """Judge a batch that stays as it was prepared, by the seeds of one repeat."""
        judgments = [dataclasses.replace(judgment) for judgment in prepared.judgments]
        batch = Batch(judgments, self._seeded(prepared.requests, judgments, repeat), prepared.prepared)
        self._ask(batch)
        if self._config.judge.complete_replies and not self._expects:
            unread = [i for i in batch.requests if batch.judgments[i].state == "unparsed"]
            begun = {i: continuation(batch.judgments[i].reply or "") for i in unread}
            requests = {
                i: dataclasses.replace(batch.requests[i], answer_start=begun[i], wanted="number") for i in unread
            }
            self._ask(Batch(judgments, self._seeded(requests, judgments, repeat)))
        return judgments

    def _seeded(self, requests: dict[int, Request], judgments: list[Judgment], repeat: int) -> dict[int, Request]:
        return with_seeds(requests, judgments, repeat) if self._config.judge.is_sampling else requests

    def _ask(self, batch: Batch) -> None:
        """Put the answers to a batch's requests, and the scores that they hold, into its judgments."""
        requests = list(batch.requests.values())
        prepared = None if batch.prepared is None else (batch.prepared, _seeds(requests))
        answers = ask(requests, lambda some: (self._judge.prepare(some), _seeds(some)), self._answer, prepared)
        for position, answer in zip(batch.requests, answers, strict=True):
            judgment = batch.judgments[position]
            try:
                if isinstance(answer, Exception):
                    raise answer
                if self._expects:
                    _read_probabilities(judgment, answer, self._config.judge)
                else:
                    _read_reply(judgment, answer, self._config.rubrics[judgment.category].title)
            except Exception as error:
                _fail(judgment, error)

    def _answer(self, prepared_and_seeds: tuple[Any, list[int]]) -> list[Any]:
        prepared, seeds = prepared_and_seeds
        if self._expects:
            return list(self._judge.label_probabilities(prepared, list(self._config.judge.labels)))
        replies = self._judge.reply(prepared, seeds) if seeds else self._judge.reply(prepared)
        if not all(isinstance(reply, str | Exception) for reply in replies):
            raise TypeError(f"the judge gave {[type(reply).__name__ for reply in replies]}, replies must be str")
        return list(replies)

    def request(self, task: JudgeTask) -> Request:
        """What the judge is asked about a sample; raises if its images cannot be read."""
        sample, edit = task.sample, task.edit
        png = read_edited(self._run_dir.edits, edit)
        edit_first, with_source = task.control == "swapped", self._config.judge.compare_with_original
        shown = [stand_in(task, images.decode_rgb(png), lambda: self._read_sources(task)[0])]
        if with_source:
            sources = self._read_sources(task)
            shown = shown + sources if edit_first else sources + shown
        system, user = prompts(self._config.rubrics[sample.category], sample, with_source, edit_first)
        if self._expects:
            return Request(sample.index, system, user, tuple(shown), ANSWER_START, "label")
        return Request(sample.index, system, user, tuple(shown))

    def _read_sources(self, task: JudgeTask) -> list[Image.Image]:
        if task.before:
            return [images.decode_rgb(read_edited(self._run_dir.edits, task.before))]
        if self._dataset is None:
            raise ValueError("there is no dataset to read the source image from")
        return [images.decode_rgb(file) for file in read_sources(self._dataset, task.sample)]


def _seeds(requests: Sequence[Request]) -> list[int]:
    """The seeds of requests; none for a judge that does not draw its replies."""
    return [request.seed for request in requests if request.seed is not None]


def ask(
    requests: Sequence[Request],
    prepare: Callable[[Sequence[Request]], Any],
    answer: Callable[[Any], list[Any]],
    prepared: Any = None,
) -> list[Any]:
    """Ask for one batch; a batch that fails is halved until what fails stands alone.

    Args:
        requests: The batch.
        prepare: The judge's `prepare`.
        answer: Gives the answers to what was prepared.
        prepared: What `prepare` made of the requests, if it was called already.

    Returns:
        For each request its answer, or the exception that it raised when asked alone.

    Raises:
        UserError: what is wrong is wrong for all samples.
    """
    if not requests:
        return []
    try:
        answers = answer(prepare(requests) if prepared is None else prepared)
        if len(answers) != len(requests):
            raise ValueError(f"the judge gave {len(answers)} answers to {len(requests)} requests")
        return list(answers)
    except Exception as error:
        if isinstance(error, UserError) or devices.is_lost(error):
            raise
        if len(requests) == 1:
            logger.debug("the traceback", exc_info=True)
            error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold on to the tensors of this try
            return [error]
        cause = printable(f"{type(error).__name__}: {error}")
        logger.warning("a batch of %d failed and is halved: %s", len(requests), cause)
    devices.empty_cache()  # outside the except clause: the exception holds on to the batch's tensors
    middle = len(requests) // 2
    return ask(requests[:middle], prepare, answer) + ask(requests[middle:], prepare, answer)


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


def _read_reply(judgment: Judgment, answer: str, title: str) -> None:
    """Read the score out of a reply, or out of what completes the one that is there."""
    if judgment.reply is None:
        judgment.reply = answer
    else:
        judgment.completion = answer
    judgment.score = read_score(judgment.reply, judgment.completion, title)
    judgment.state = "unparsed" if judgment.score is None else "scored"


def _read_probabilities(judgment: Judgment, probabilities: Sequence[float], judge: JudgeConfig) -> None:
    """Read the score out of label probabilities; what are no probabilities raises ValueError."""
    found = read_labels(probabilities, judge.labels, judge.min_label_mass)
    judgment.label_probabilities, judgment.label, judgment.label_mass = found.probabilities, found.label, found.mass
    judgment.score, judgment.spread = found.score, found.spread
    if found.score is None:
        judgment.error = (
            f"the labels have {found.mass:g} of the probability, judge.min_label_mass={judge.min_label_mass} is needed"
        )
    else:
        judgment.state = "scored"


def _fail(judgment: Judgment, error: Exception) -> None:
    judgment.state = "judge_failed"
    judgment.error_type, judgment.error = type(error).__name__, hide(str(error))
    logger.warning("sample %s: %s: %s", *map(printable, (judgment.sample_id, judgment.error_type, judgment.error)))
    logger.debug("the traceback", exc_info=error)
