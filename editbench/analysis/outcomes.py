"""What became of every sample of a run."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from editbench.analysis.histogram import histogram
from editbench.analysis.statistics import TEN, Scale, bootstrap_interval, macro_mean, rate, summarize, with_failures
from editbench.run.identity import sample_input
from editbench.run.records import FAILURE_STATES, Edit, Judgment, Sample, State

JUDGED: tuple[State, ...] = ("scored", "unparsed", "judge_failed")
_SAID = ("completion", "label", "label_mass", "spread", "scores", "named_scores")

_OTHER_LANGUAGE = ("edit_instruction", "edit_instruction_en")
"""Fields of the benchmark format of which one is the instruction, and the other is left in `Sample.extra`."""

WITH_IMAGE: tuple[State, ...] = ("edited", *JUDGED)
"""States of samples that have an edited image."""


def counting(sample: Sample, edit: Edit | None, judgment: Judgment | None) -> tuple[Edit | None, Judgment | None]:
    """Leave out an edit that is not of the sample as planned, and a judgment that is not of that edit."""
    if edit is not None and edit.input != sample_input(sample):
        edit = None
    if edit is None or edit.state != "edited" or (judgment and judgment.image_sha256 != edit.sha256):
        judgment = None
    return edit, judgment


def outcome(sample: Sample, edit: Edit | None, judgment: Judgment | None) -> dict[str, Any]:
    """What became of one sample: all that is on record of it, in one flat dict.

    Returns:
        What the sample is (`source_images`: how many, if several; in a chain `follows` and `turn`); its `state`; of the
        edit and the judgment that count, if they do, `score` and how that was `answered`, what the judge said, times
        and sizes; what went wrong if something did. The rest is None.
    """
    edit, judgment = counting(sample, edit, judgment)
    last = judgment or edit
    return {
        "sample_id": sample.sample_id,
        "key": sample.key,
        "category": sample.category,
        "state": last.state if last else "pending",
        "score": judgment.score if judgment else None,
        "answered": judgment and _answered(judgment),
        "replies": judgment and judgment.replies,
        "completions": judgment and judgment.completions,
        "error_type": last.error_type if last else None,
        "error": last.error if last else None,
        "instruction": sample.instruction,
        "instruction_in_other_language": next((sample.extra[k] for k in _OTHER_LANGUAGE if k in sample.extra), None),
        **({"rewritten_instruction": sample.rewritten} if sample.rewritten else {}),
        "description": sample.description,
        "source": sample.source_sha256[:16],
        **({"source_images": sample.source_images} if sample.source_images > 1 else {}),
        **({"follows": sample.follows, "turn": sample.turn} if sample.follows else {}),
        "image_sha256": edit and edit.sha256,
        "source_size": edit and _size(edit.source_width, edit.source_height),
        "edited_size": edit and _size(edit.width, edit.height),
        "seed": edit and edit.seed,
        "edit_latency_s": edit and edit.latency_s,
        "judge_latency_s": judgment and judgment.latency_s,
        "reply": judgment and said(judgment),
        **{name: judgment and getattr(judgment, name) for name in _SAID},
    }


def said(judgment: Judgment) -> str | None:
    """What the judge replied; under several criteria each reply, of the first repeat, below the criterion's name."""
    if not judgment.answers:
        return judgment.reply
    first = judgment.answers[0]
    replies = {name: (answer.get("reply"), answer.get("completion")) for name, answer in first.items()}
    return "\n\n".join(
        f"{name}:\n{reply or '–'}" + (f"\nScore: {more}" if more else "") for name, (reply, more) in replies.items()
    )


def _size(width: int | None, height: int | None) -> list[int] | None:
    return [width, height] if width and height else None


def _answered(judgment: Judgment) -> str | None:
    """How a judgment's score was had: from a `free` reply, `prefilled` (of several one or more), `probabilities`."""
    if judgment.score is None:
        return None
    if judgment.label_probabilities is not None:
        return "probabilities"
    completions = judgment.completions or [judgment.completion]
    completions += [one.get("completion") for answers in judgment.answers or [] for one in answers.values()]
    return "free" if all(completion is None for completion in completions) else "prefilled"


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


def summarize_outcomes(
    outcomes: Iterable[dict[str, Any]], bootstrap: bool = False, scale: Scale = TEN
) -> dict[str, Any]:
    """Statistics of the scores there are, and of the failures beside them.

    Returns:
        What `summarize`, `with_failures` and `histogram` give; `counts` of the samples, `failed_rate` of those that
        were tried to an end, and how scores were `answered`; with `bootstrap` also `bootstrap_interval`.
    """
    outcomes = list(outcomes)
    scored = [o for o in outcomes if o["score"] is not None]
    scores = [o["score"] for o in scored]
    failed = sum(o["state"] in FAILURE_STATES for o in outcomes)
    sources = [o["source"] for o in scored]
    return {
        **summarize(scores, sources, scale),
        **({"bootstrap_interval": bootstrap_interval(scores, sources)} if bootstrap else {}),
        **with_failures(scores, failed, scale),
        "failed_rate": rate(failed, failed + len(scored)),
        **histogram(scores, scale),
        "counts": count_states(outcomes),
        "answered": dict(sorted(Counter(o["answered"] for o in scored).items())),
    }


def by_turn(outcomes: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """The outcomes of samples in chains by their place in it, from 1; empty where no sample follows another."""
    outcomes = list(outcomes)
    followed = {o["follows"] for o in outcomes if "follows" in o}
    turns: dict[int, list[dict[str, Any]]] = {}
    for o in outcomes:
        if "follows" in o or o["sample_id"] in followed:
            turns.setdefault(o.get("turn", 1), []).append(o)
    return dict(sorted(turns.items()))


def macro(outcomes: Iterable[dict[str, Any]], scale: Scale = TEN) -> dict[str, Any]:
    """The unweighted mean of the categories' means, of those that have one, with its clustered interval.

    Returns:
        `mean`, `standard_error` and `interval` of `macro_mean`; `categories`, how many; `of_one_source`: the names of
        those whose scores come from a single source image, so that there is no interval.
    """
    scored = [o for o in outcomes if o["score"] is not None]
    scores, categories, sources = ([o[key] for o in scored] for key in ("score", "category", "source"))
    found = macro_mean(scores, categories, sources, scale)
    seen = Counter(category for category, _ in set(zip(categories, sources, strict=True)))
    lone = [category for category in dict.fromkeys(categories) if seen[category] == 1]
    kept = {key: found[key] for key in ("mean", "standard_error", "interval")}
    return kept | {"categories": found["groups"], "of_one_source": lone}


def count_causes(outcomes: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count, per failure state, how often which type of error was the cause."""
    causes: dict[str, Counter[str]] = {}
    for o in outcomes:
        if o["state"] in FAILURE_STATES:
            causes.setdefault(o["state"], Counter())[o["error_type"] or "no score in the answer"] += 1
    return {state: dict(counter.most_common()) for state, counter in causes.items()}
