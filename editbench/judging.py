"""Judges batches of samples: builds the requests, asks, reads the scores, asks again.

A batch that fails is halved until what fails stands alone; that sample is put on record as failed. No failure and no
reply is ever turned into a score here: scores come from `judges/reply.py` alone.
"""

import dataclasses
import logging
import time
from collections.abc import Sequence

from editbench import devices, images, logs
from editbench.config import Config
from editbench.datasets import Dataset, read_source
from editbench.judges import Judge, Request
from editbench.judges.reply import parse_score
from editbench.records import Judgment
from editbench.redaction import hide
from editbench.rubrics import RETRY_PROMPT, prompts
from editbench.run_dir import RunDir
from editbench.shards import read_image
from editbench.tasks import JudgeTask

logger = logging.getLogger(__name__)


class BatchJudge:
    """Judges batches: builds the requests, asks, parses, asks again; whatever fails alone is put on record.

    Args:
        judge: The judge.
        dataset: Where source images come from; None if the judge does not see them.
        config: The run.
        run_dir: Where the edited images lie.
    """

    def __init__(self, judge: Judge, dataset: Dataset | None, config: Config, run_dir: RunDir) -> None:
        self._judge, self._dataset, self._config, self._run_dir = judge, dataset, config, run_dir

    def judge(self, batch: Sequence[JudgeTask]) -> list[Judgment]:
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
        if not all(isinstance(reply, str) for reply in replies):
            raise TypeError(f"the judge gave {[type(reply).__name__ for reply in replies]}, replies must be str")
        return list(replies)
    except Exception as error:
        if devices.is_lost(error):
            raise
        if len(requests) == 1:
            return [error]
        cause = logs.printable(f"{type(error).__name__}: {error}")
        logger.warning("a batch of %d failed and is halved: %s", len(requests), cause)
    devices.empty_cache()  # outside the except clause: the exception holds on to the batch's tensors
    middle = len(requests) // 2
    return ask(requests[:middle], judge) + ask(requests[middle:], judge)


def _fail(judgment: Judgment, error: Exception) -> None:
    judgment.state = "judge_failed"
    judgment.error_type, judgment.error = type(error).__name__, hide(str(error))
    logger.warning("sample %s: %s: %s", *map(logs.printable, (judgment.sample_id, judgment.error_type, judgment.error)))
    logger.debug("the traceback", exc_info=error)
