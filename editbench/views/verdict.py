"""The verdict of a report in a sentence or two made from its numbers. That of a comparison is in `comparison`."""

from typing import Any

from editbench.views.official import scale_of
from editbench.views.tables import at, between, rounded

_MEANINGLESS = "mean nothing"
"""What the notes of fakes and of checkpoints with random weights say of themselves."""


def report_verdict(report: dict[str, Any]) -> str:
    """Say how well the editor edits and on how much that rests, or why its scores are not to be trusted."""
    editor, judge = (at(report, role, "name") or f"an unknown {role}" for role in ("editor", "judge"))
    counts, overall = report.get("counts") or {}, report.get("overall") or {}
    planned, scored = (f"{counts.get(key) or 0:,}" for key in ("planned", "scored"))
    if overall.get("mean") is None:
        return f"No verdict: none of {planned} planned samples has a score yet."
    sentence = (
        f"{editor} scores {rounded(overall['mean'])} {_out_of(report)} ({_interval(overall)}), judged by {judge} "
    )
    sentence += f"on {scored} of {planned} planned samples{_sources(overall)}."
    if meaningless(report):
        return f"No verdict: these scores mean nothing, by the word of the models that made them. {sentence}"
    alike = not_told_apart(report)
    if alike:
        return f"Doubtful: controls do not show that the judge tells real edits from {', '.join(alike)}. {sentence}"
    return sentence


def meaningless(report: dict[str, Any]) -> bool:
    """Whether the editor or the judge is a fake or has random weights, by its own word."""
    notes = [at(report, role, key) for role in ("editor", "judge") for key in ("note", "checkpoint_note")]
    return any(_MEANINGLESS in note for note in notes if isinstance(note, str))


def not_told_apart(report: dict[str, Any]) -> list[str]:
    """The controls that the judge is not seen to score below real edits."""
    kinds = at(report, "controls", "per_kind") or []
    return [kind["control"].replace("_", " ") for kind in kinds if not kind.get("told_apart")]


def _interval(overall: dict[str, Any]) -> str:
    bounds, clusters = overall.get("interval"), overall.get("clusters")
    if bounds:
        return f"95% interval {between(bounds)}"
    return "no interval: too few source images" if clusters is not None and clusters < 2 else "no interval"


def _out_of(report: dict[str, Any]) -> str:
    low, high = scale_of(report)
    return f"of {high:g}" if not low else f"on {low:g} to {high:g}"


def _sources(overall: dict[str, Any]) -> str:
    clusters = overall.get("clusters")
    return "" if clusters is None else f" from {clusters:,} source image{'s' * (clusters != 1)}"
