"""What became of every sample of a run."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from editbench.analysis.statistics import summarize
from editbench.run.identity import sample_input
from editbench.run.records import FAILURE_STATES, Edit, Judgment, Sample, State

JUDGED: tuple[State, ...] = ("scored", "unparsed", "judge_failed")
WITH_IMAGE: tuple[State, ...] = ("edited", *JUDGED)
"""States of samples that have an edited image."""


def outcome(sample: Sample, edit: Edit | None, judgment: Judgment | None) -> dict[str, Any]:
    """What became of one sample: its state, its score and how that was had, and what went wrong if something did."""
    state: State = "pending"
    failure: Edit | Judgment | None = None
    score = answered = None
    if edit is not None and edit.input == sample_input(sample):
        state, failure = edit.state, edit
        if edit.state == "edited" and judgment is not None and judgment.image_sha256 == edit.sha256:
            state, failure, score = judgment.state, judgment, judgment.score
            answered = _answered(judgment)
    return {
        "sample_id": sample.sample_id,
        "category": sample.category,
        "state": state,
        "score": score,
        "answered": answered,
        "error_type": failure.error_type if failure else None,
        "error": failure.error if failure else None,
    }


def _answered(judgment: Judgment) -> str | None:
    """How a judgment's score was had: read from a `free` reply, `prefilled`, or from `probabilities` of labels."""
    if judgment.score is None:
        return None
    if judgment.label_probabilities is not None:
        return "probabilities"
    return "free" if judgment.completion is None else "prefilled"


def count_states(outcomes: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Count samples: `planned`, those with an image as `edited`, those with a score, and each other state."""
    states = Counter(o["state"] for o in outcomes)
    return {
        "planned": states.total(),
        "edited": sum(states[state] for state in WITH_IMAGE),
        "scored": states["scored"],
        **{state: states[state] for state in FAILURE_STATES},
        "not_edited_yet": states["pending"],
        "not_judged_yet": states["edited"],
    }


def summarize_outcomes(outcomes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of the scores there are, and `counts` of the samples they rest on."""
    outcomes = list(outcomes)
    scored = [o for o in outcomes if o["score"] is not None]
    answered = dict(sorted(Counter(o["answered"] for o in scored).items()))
    return {**summarize([o["score"] for o in scored]), "counts": count_states(outcomes), "answered": answered}


def count_causes(outcomes: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count, per failure state, how often which type of error was the cause."""
    causes: dict[str, Counter[str]] = {}
    for o in outcomes:
        if o["state"] in FAILURE_STATES:
            causes.setdefault(o["state"], Counter())[o["error_type"] or "no score in the answer"] += 1
    return {state: dict(counter.most_common()) for state, counter in causes.items()}
