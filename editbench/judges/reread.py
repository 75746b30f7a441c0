"""Reads what a judge said once more: whether the scores of a judgment follow from the replies on record."""

import dataclasses
from typing import Any

from editbench.config.protocol import SCORE
from editbench.config.schema import Config
from editbench.judges.combine import read_again, scores_of
from editbench.judges.labels import read_labels
from editbench.judges.prompts import criteria_for
from editbench.judges.repeats import mean_and_spread, mean_of_named
from editbench.judges.reply import read_score
from editbench.run.records import Judgment, Sample


def does_not_follow(judgment: Judgment, config: Config, sample: Sample | None) -> str | None:
    """Say what of a judgment does not follow from its answers; None if all does, or if it has no answers.

    Args:
        judgment: As it is on record.
        config: The settings that it was made with.
        sample: Its sample; None if that is no longer planned.
    """
    if judgment.state not in ("scored", "unparsed"):
        return None
    if config.protocol.criteria:
        again = _under_criteria(judgment, config, sample) if sample else {}
    else:
        again = _by_rubric(judgment, config)
    if again == {key: getattr(judgment, key) for key in again}:
        return None
    said, given = _in_words(judgment), _in_words(dataclasses.replace(judgment, **again))
    if said != given:
        return f"its score is {said}, its answer gives {given}"
    return "the numbers of its criteria do not follow from its replies"


def _under_criteria(judgment: Judgment, config: Config, sample: Sample) -> dict[str, Any]:
    """Fields of a judgment under several criteria that follow from their replies."""
    criteria = criteria_for(config, sample)
    answers = [read_again(answered, criteria) for answered in judgment.answers or [{}]]
    named = [scores_of(answered, config.protocol) for answered in answers]
    if config.judge.repeats == 1:
        return {"answers": answers, "named_scores": named[0], "scores": None, "score": named[0][SCORE]}
    scores = [one[SCORE] for one in named]
    mean, _ = mean_and_spread(scores)
    return {"answers": answers, "named_scores": mean_of_named(named), "scores": scores, "score": mean}


def _by_rubric(judgment: Judgment, config: Config) -> dict[str, Any]:
    """Score, and that of each repeat, read out of replies or label probabilities."""
    judge, title = config.judge, config.rubrics[judgment.category].title
    if judgment.replies is not None:
        answers = zip(judgment.replies, judgment.completions or [], strict=False)
        scores = [read_score(reply or "", completion, title) for reply, completion in answers]
        return {"score": mean_and_spread(scores)[0], "scores": scores}
    if judgment.label_probabilities is None:
        return {"score": read_score(judgment.reply or "", judgment.completion, title), "scores": None}
    try:
        found = read_labels(list(judgment.label_probabilities.values()), judge.labels, judge.min_label_mass)
        return {"score": found.score, "scores": None}
    except ValueError:
        return {"score": None, "scores": None}


def _in_words(judgment: Judgment) -> str:
    return str(judgment.score) if judgment.scores is None else f"{judgment.score} from {judgment.scores}"
