"""What became of every sample of a run."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from editbench.run.identity import sample_input
from editbench.run.records import FAILURE_STATES, Edit, Judgment, Sample, State


def outcome(sample: Sample, edit: Edit | None, judgment: Judgment | None) -> dict[str, Any]:
    """What became of one sample: its state, its score if it has one, and what went wrong if something did."""
    state: State = "pending"
    failure: Edit | Judgment | None = None
    score = None
    if edit is not None and edit.input == sample_input(sample):
        state, failure = edit.state, edit
        if edit.state == "edited" and judgment is not None and judgment.image_sha256 == edit.sha256:
            state, failure, score = judgment.state, judgment, judgment.score
    return {
        "sample_id": sample.sample_id,
        "category": sample.category,
        "state": state,
        "score": score,
        "error_type": failure.error_type if failure else None,
        "error": failure.error if failure else None,
    }


def count_states(outcomes: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Count samples: `planned`, those with an image as `edited`, those with a score, and each other state."""
    states = Counter(o["state"] for o in outcomes)
    return {
        "planned": states.total(),
        "edited": states["edited"] + states["scored"] + states["unparsed"] + states["judge_failed"],
        "scored": states["scored"],
        **{state: states[state] for state in FAILURE_STATES},
        "not_edited_yet": states["pending"],
        "not_judged_yet": states["edited"],
    }
