"""One judgment of the answers under several criteria, and those answers read once more."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from editbench.config.protocol import SCORE, ProtocolConfig
from editbench.judges.answers import numbers_in
from editbench.judges.prompts import Criterion
from editbench.run.records import Judgment

Answers = dict[str, dict[str, Any]]
"""What a sample's criteria were answered, by criterion; as `Judgment.answers` has it for each repeat."""


def combine(parts: Mapping[str, Judgment], protocol: ProtocolConfig) -> Judgment:
    """Make one judgment of what each criterion was answered; that of a rubric alone stays as it is.

    It is `scored` if the protocol's score follows from the answers, else `judge_failed` if a request failed, else
    `unparsed`; what is missing, or has no value, is named.

    Args:
        parts: By criterion; `named_scores` holds the numbers read.
        protocol: Says what scores follow.
    """
    if "" in parts:
        return parts[""]
    answers = {
        name: {
            "reply": part.reply,
            "completion": part.completion,
            "numbers": part.named_scores,
            "error": part.error and f"{part.error_type}: {part.error}",
        }
        for name, part in parts.items()
    }
    named, causes = scores_of(answers, protocol), protocol.causes(list(answers), _numbers_of(answers))
    failed = next(((name, part) for name, part in parts.items() if part.state == "judge_failed"), None)
    begun = dataclasses.replace(
        next(iter(parts.values())), reply=None, completion=None, answers=[answers], named_scores=named, error=None
    )
    if named[SCORE] is not None:
        return dataclasses.replace(begun, state="scored", score=named[SCORE], error_type=None)
    if failed:
        name, part = failed
        under = "" if {other.error for other in parts.values()} == {part.error} else f"{name}: "
        return dataclasses.replace(
            begun, state="judge_failed", error_type=part.error_type, error=f"{under}{part.error}"
        )
    unread = ", ".join(name for name, answer in answers.items() if answer["numbers"] is None)
    why = (
        f"no numbers that can be read under {unread}"
        if unread
        else "; ".join(f"{name} has no value ({cause})" for name, cause in causes.items())
    )
    return dataclasses.replace(begun, state="unparsed", error_type=None, error=why)


def scores_of(answers: Answers, protocol: ProtocolConfig) -> dict[str, float | None]:
    """The protocol's scores, by name, that follow from the numbers of answers."""
    return protocol.scores_of(list(answers), _numbers_of(answers))


def _numbers_of(answers: Answers) -> dict[str, float | None]:
    return {name: value for answer in answers.values() for name, value in (answer["numbers"] or {}).items()}


def read_again(answers: Answers, criteria: Sequence[Criterion]) -> Answers:
    """Read the numbers of the criteria that should have been asked once more out of the replies on record."""
    again: Answers = {}
    for criterion in criteria:
        answer = {"reply": None, "completion": None, "error": None, **answers.get(criterion.name, {})}
        again[criterion.name] = {**answer, "numbers": numbers_in(answer["reply"], answer["completion"], criterion)}
    return again
