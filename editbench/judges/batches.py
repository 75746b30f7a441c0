"""Judges batches of samples: builds the requests, asks, reads the scores, asks again.

While a batch is on the device, the next one is read, decoded and prepared in a background thread. A batch that fails
is halved until what fails stands alone; that sample is put on record as failed. No failure and no answer is ever turned
into a score here: scores come from `judges/reply.py` and `judges/labels.py` alone.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from editbench import images
from editbench.config.schema import ANSWER_START, Config, JudgeConfig
from editbench.datasets.base import Dataset, read_source
from editbench.distributed import devices
from editbench.judges.base import Judge, Request
from editbench.judges.labels import read_labels
from editbench.judges.prompts import RETRY_PROMPT, prompts
from editbench.judges.reply import parse_score
from editbench.run.folder import RunDir
from editbench.run.records import JudgeTask, Judgment
from editbench.run.shards import read_image
from editbench.text import hide, printable

logger = logging.getLogger(__name__)


@dataclass
class Batch:
    """A batch on its way.

    Attributes:
        judgments: One per task, in order, filled in as things become known.
        waiting: Those that have no answer yet, each with its request.
        prepared: At most one item: what the judge made of these requests, or the exception that it raised.
        seconds: Time spent on it so far.
    """

    judgments: list[Judgment]
    waiting: list[tuple[Judgment, Request]]
    prepared: list[Any]
    seconds: float = 0.0


class BatchJudge:
    """Judges batches, one after the other.

    Args:
        judge: The judge.
        dataset: Where source images come from; None if the judge does not see them.
        config: The run.
        run_dir: Where the edited images lie.
    """

    def __init__(self, judge: Judge, dataset: Dataset | None, config: Config, run_dir: RunDir) -> None:
        self._judge, self._dataset, self._config, self._run_dir = judge, dataset, config, run_dir
        self._expects = config.judge.mode == "expected"

    def run(
        self, batches: Iterable[Sequence[JudgeTask] | None], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Judgment]]:
        """Judge batches in order; while one is on the device, the next is prepared.

        Args:
            batches: Taken one by one in this thread, never more than one ahead of the batch that is judged; None is
                no batch, and keeps the one behind it from being taken ahead.
            stop: Once it gives true, no batch is taken or begun any more.

        Yields:
            For each batch one judgment per task, in order.
        """
        source = iter(batches)
        with ThreadPoolExecutor(1, "prepare") as pool:  # one thread: a judge's `prepare` never runs twice at a time

            def take() -> Future[Batch] | None:
                for tasks in () if stop() else source:
                    return pool.submit(self._prepare, tasks or ())
                return None

            ahead = take()
            while ahead is not None:
                batch = ahead.result()
                if stop():
                    return
                ahead = take()
                if batch.judgments:
                    yield self._judge_batch(batch, pool)

    def _prepare(self, tasks: Sequence[JudgeTask]) -> Batch:
        """Do for a batch all that needs no device."""
        started = time.monotonic()
        judgments = [
            Judgment(task.sample.sample_id, task.sample.category, "unparsed", task.unit, task.edit.sha256 or "")
            for task in tasks
        ]
        batch = Batch(judgments, [], [])
        for task, judgment in zip(tasks, judgments, strict=True):
            try:
                batch.waiting.append((judgment, self._request(task)))
            except Exception as error:
                _fail(judgment, error)
        if batch.waiting:
            try:
                batch.prepared = [self._judge.prepare([request for _, request in batch.waiting])]
            except Exception as error:
                batch.prepared = [error]
        batch.seconds = time.monotonic() - started
        return batch

    def _judge_batch(self, batch: Batch, pool: ThreadPoolExecutor) -> list[Judgment]:
        """Ask, and ask again for replies without a score; what was prepared serves the first request."""

        def prepare(requests: Sequence[Request]) -> Any:
            if not batch.prepared:
                return pool.submit(self._judge.prepare, requests).result()
            prepared = batch.prepared.pop()
            if isinstance(prepared, Exception):
                raise prepared
            return prepared

        started = time.monotonic()
        for _ in range(1 if self._expects else 1 + self._config.judge.max_retries):
            requests = [request for _, request in batch.waiting]
            answers = ask(requests, prepare, self._answer) if requests else []
            batch.waiting = self._read(batch.waiting, answers)
        batch.seconds += time.monotonic() - started
        for judgment in batch.judgments:
            judgment.latency_s = round(batch.seconds / len(batch.judgments), 4)
        return batch.judgments

    def _answer(self, prepared: Any) -> list[Any]:
        if self._expects:
            return self._judge.label_probabilities(prepared, list(self._config.judge.labels))
        replies = self._judge.reply(prepared)
        if not all(isinstance(reply, str) for reply in replies):
            raise TypeError(f"the judge gave {[type(reply).__name__ for reply in replies]}, replies must be str")
        return replies

    def _read(self, waiting: list[tuple[Judgment, Request]], answers: list[Any]) -> list[tuple[Judgment, Request]]:
        """Read the scores; returns those whose reply holds none, with the next request."""
        unparsed = []
        for (judgment, request), answer in zip(waiting, answers, strict=True):
            try:
                if isinstance(answer, Exception):
                    raise answer
                if self._expects:
                    _read_probabilities(judgment, answer, self._config.judge)
                    continue
            except Exception as error:
                _fail(judgment, error)
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

    def _request(self, task: JudgeTask) -> Request:
        sample, edit = task.sample, task.edit
        if edit.shard is None or edit.offset is None or edit.length is None or edit.sha256 is None:
            raise ValueError("the index names no image for this sample")
        png = read_image(self._run_dir.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        shown = [images.decode_rgb(png)]
        if self._config.judge.compare_with_original and self._dataset is not None:
            shown.insert(0, images.decode_rgb(read_source(self._dataset, sample)))
        rubric = self._config.rubrics[sample.category]
        system, user = prompts(rubric, sample, self._config.judge.compare_with_original)
        start = ANSWER_START if self._expects else ""
        return Request(sample.index, system, user, tuple(shown), answer_start=start)


def ask(
    requests: Sequence[Request],
    prepare: Callable[[Sequence[Request]], Any],
    answer: Callable[[Any], list[Any]],
) -> list[Any]:
    """Ask for one batch; a batch that fails is halved until what fails stands alone.

    Args:
        requests: The batch.
        prepare: The judge's `prepare`.
        answer: Gives the answers to what was prepared.

    Returns:
        For each request its answer, or the exception that it raised when asked alone.
    """
    try:
        answers = answer(prepare(requests))
        if len(answers) != len(requests):
            raise ValueError(f"the judge gave {len(answers)} answers to {len(requests)} requests")
        return list(answers)
    except Exception as error:
        if devices.is_lost(error):
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
        return {"mode": judge.mode}
    return {"mode": judge.mode, "labels": judge.labels, "min_label_mass": judge.min_label_mass}


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
