"""What an answer of the judge says goes into a judgment here: a score, numbers, a failure. Nothing is ever made up."""

import logging
from collections.abc import Sequence

from editbench.config.schema import JudgeConfig
from editbench.judges.labels import read_labels
from editbench.judges.prompts import Criterion
from editbench.judges.reply import read_score
from editbench.judges.reply_numbers import read_numbers
from editbench.run.records import Judgment
from editbench.text import hide, printable

logger = logging.getLogger(__name__)


def read_reply(judgment: Judgment, answer: str, criterion: Criterion) -> None:
    """Read what a criterion asks for out of a reply, or out of what completes the one that is there."""
    if judgment.reply is None:
        judgment.reply = answer
    else:
        judgment.completion = answer
    if criterion.form is None:
        judgment.score = read_score(judgment.reply, judgment.completion, criterion.title)
        found = judgment.score is not None
    else:
        judgment.named_scores = numbers_in(judgment.reply, judgment.completion, criterion)
        found = judgment.named_scores is not None
    judgment.state = "scored" if found else "unparsed"


def numbers_in(reply: str | None, completion: str | None, criterion: Criterion) -> dict[str, float | None] | None:
    """The numbers of a criterion by name, out of a reply and its completion; None where not all can be read."""
    if criterion.form is None or reply is None:
        return None
    numbers = read_numbers(reply, criterion.form, completion)
    return None if numbers is None else dict(zip(criterion.numbers, numbers, strict=True))


def read_probabilities(judgment: Judgment, probabilities: Sequence[float], judge: JudgeConfig) -> None:
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


def fail(judgment: Judgment, error: Exception) -> None:
    """Put a failure on record."""
    judgment.state = "judge_failed"
    judgment.error_type, judgment.error = type(error).__name__, hide(str(error))
    logger.warning("sample %s: %s: %s", *map(printable, (judgment.sample_id, judgment.error_type, judgment.error)))
    logger.debug("the traceback", exc_info=error)
