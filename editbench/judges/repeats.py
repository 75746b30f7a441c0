"""One judgment of several replies to the same request (`judge.repeats`): repeats never count as more samples."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from editbench.judges.base import Request
from editbench.run.identity import judging_seed
from editbench.run.records import Control, Judgment

DECIMALS = 6
"""What mean and spread are rounded to, so that a stored judgment gives them again exactly."""


def with_seeds(requests: Mapping[int, Request], judgments: Mapping[int, Judgment], repeat: int) -> dict[int, Request]:
    """Give requests the seeds that their replies are drawn by: from sample, criterion, control and repeat alone.

    Args:
        requests: By the position of their judgment.
        judgments: What the answers go into, by the same.
        repeat: Which repeat this is, from 0.
    """
    seeded = {}
    for position, request in requests.items():
        judgment = judgments[position]
        control = judgment.control if isinstance(judgment, Control) else ""
        purpose = (request.wanted, *([request.form.criterion] if request.form else []), *([control] if control else []))
        seed = judging_seed(judgment.sample_id, " ".join(purpose), repeat)
        seeded[position] = dataclasses.replace(request, seed=seed)
    return seeded


def mean_and_spread(scores: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1 in the denominator) of the scores there are.

    Returns:
        The mean, None without a score, and the deviation, None with fewer than two.
    """
    known = [score for score in scores if score is not None]
    mean = round(math.fsum(known) / len(known), DECIMALS) if known else None
    return mean, round(statistics.stdev(known), DECIMALS) if len(known) > 1 else None


def mean_of_named(repeats: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of each named score over the repeats that have it."""
    names = dict.fromkeys(name for repeat in repeats for name in repeat)
    return {name: mean_and_spread([repeat.get(name) for repeat in repeats])[0] for name in names}


def merge(repeats: Sequence[Judgment]) -> Judgment:
    """Make one judgment of the repeats of a sample.

    It is `scored` if any reply held a score, else `unparsed` if there was any reply, else `judge_failed`. The cause
    of the first repeat that failed stays on record.
    """
    states = {repeat.state for repeat in repeats}
    failed = next((repeat for repeat in repeats if repeat.error is not None), repeats[0])
    scores = [repeat.score for repeat in repeats]
    mean, spread = mean_and_spread(scores)
    answers = [one for repeat in repeats for one in repeat.answers or []]
    return dataclasses.replace(
        repeats[0],
        state="scored" if mean is not None else "unparsed" if "unparsed" in states else "judge_failed",
        score=mean,
        spread=spread,
        scores=scores,
        replies=None if answers else [repeat.reply for repeat in repeats],
        completions=None if answers else [repeat.completion for repeat in repeats],
        answers=answers or None,
        named_scores=mean_of_named([repeat.named_scores or {} for repeat in repeats]) if answers else None,
        error_type=failed.error_type,
        error=failed.error,
    )
