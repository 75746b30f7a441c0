"""Whether the judge can tell: real edits against controls, the same edit judged twice, and the order of the images.

Everything is paired: a control is held against the judgment of its own sample's real edit, by the same judge with the
same settings. Standard errors are clustered by source image, as in `statistics.clustered_mean`. The intervals of the
kinds of wrong edits hold together with 95 %: one of five alone would show a difference by chance too often (Bonferroni;
Dunn 1961, Multiple comparisons among means).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy import stats

from editbench.analysis.statistics import CONFIDENCE, clustered_mean
from editbench.run.records import FAILURE_STATES, WRONG_EDITS, Control, Judgment

IN_WORDS = {
    "unchanged": "unchanged sources",
    "black": "black images",
    "noise": "noise",
    "other_edit": "the edits of other samples",
    "other_instruction": "right edits under other instructions",
}


@dataclass
class Held:
    """The controls of one kind, held against the real edits.

    Attributes:
        pairs: Score of the control, score of the real edit, and the source image's digest, where both have a score.
        failed: Controls without a score.
        unpaired: Controls with a score whose real edit has none.
    """

    pairs: list[tuple[float, float, str]] = field(default_factory=list)
    failed: int = 0
    unpaired: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """`n` pairs, and what is left out of them."""
        return {"n": len(self.pairs), "failed": self.failed, "unpaired": self.unpaired}


def compare_controls(
    judge: str, outcomes: Sequence[dict[str, Any]], judgments: Mapping[str, Judgment], controls: Iterable[Control]
) -> dict[str, Any] | None:
    """Hold a judge's controls against its real edits.

    Args:
        judge: The judge's name.
        outcomes: What became of each planned sample.
        judgments: The judge's latest judgment of each sample.
        controls: The judge's latest judgment of each control.

    Returns:
        `judge`; `per_kind`, for each kind of wrong edit the `control`, `n`, `failed` and `unpaired`, its `mean` and
        `real_mean` over the pairs, their `difference` (real minus control) with `standard_error` and `interval`, and
        `told_apart`, whether that lies above 0, None where there is no interval; `repeatability` and `order_bias`;
        `sentences` that say it all. None without controls that are of planned samples, and made with the settings
        that their real edits were judged with.
    """
    controls = list(controls)
    held = _hold(outcomes, judgments, controls)
    if not held:
        return None
    kinds = [kind for kind in WRONG_EDITS if kind in held]
    per_kind = [{"control": kind, **_distance(held[kind], len(kinds))} for kind in kinds]
    repeatability = _repeatability(held["again"]) if "again" in held else None
    order_bias = _order_bias(held["swapped"]) if "swapped" in held else None
    sentences = [_distance_sentence(kind) for kind in per_kind]
    sentences += _lacking_sentence(outcomes, {control.sample_id for control in controls})
    sentences += [_repeatability_sentence(repeatability)] if repeatability else []
    sentences += [_order_sentence(order_bias)] if order_bias else []
    return {
        "judge": judge,
        "per_kind": per_kind,
        "repeatability": repeatability,
        "order_bias": order_bias,
        "sentences": sentences,
    }


def controls_note(compared: dict[str, Any] | None) -> list[str]:
    """What of the controls has to be read before the scores: which of them the judge did not score below real edits."""
    alike = [IN_WORDS[kind["control"]] for kind in (compared or {"per_kind": []})["per_kind"] if not kind["told_apart"]]
    if not alike:
        return []
    return [f"judge: controls do not show that it tells real edits from {', '.join(alike)}; its scores may mean little"]


def _hold(
    outcomes: Sequence[dict[str, Any]], judgments: Mapping[str, Judgment], controls: Iterable[Control]
) -> dict[str, Held]:
    planned = {o["sample_id"]: o for o in outcomes}
    held: dict[str, Held] = {}
    for control in sorted(controls, key=lambda control: control.sample_id):
        real, of_sample = judgments.get(control.sample_id), planned.get(control.sample_id)
        withdrawn = control.state != "scored" and control.state not in FAILURE_STATES
        if withdrawn or of_sample is None or real is None or real.unit != control.compared_with:
            continue
        of_kind = held.setdefault(control.control, Held())
        if control.score is None:
            of_kind.failed += 1
        elif of_sample["score"] is None:
            of_kind.unpaired += 1
        else:
            of_kind.pairs.append((control.score, of_sample["score"], of_sample["source"]))
    return held


def _distance(held: Held, together: int) -> dict[str, Any]:
    """How far the real edits lie above the controls; the interval is one of so many that hold together."""
    apart = _difference([real - control for control, real, _ in held.pairs], held, together)
    interval = apart["interval"]
    return {
        **held.counts,
        "mean": _mean([control for control, _, _ in held.pairs]),
        "real_mean": _mean([real for _, real, _ in held.pairs]),
        **apart,
        "told_apart": None if interval is None else interval[0] > 0,
    }


def _repeatability(held: Held) -> dict[str, Any]:
    """How far the judge's scores of the same edit differ, and the share (0 to 1) of equal ones; None without pairs."""
    changes = [abs(real - control) for control, real, _ in held.pairs]
    same = _mean([float(change == 0) for change in changes])
    return {**held.counts, "mean_absolute_difference": _mean(changes), "identical": same}


def _order_bias(held: Held) -> dict[str, Any]:
    """By how much scores rise where the edit is shown first."""
    return {**held.counts, **_difference([control - real for control, real, _ in held.pairs], held)}


def _difference(values: list[float], held: Held, together: int = 1) -> dict[str, Any]:
    found = clustered_mean(values, [source for _, _, source in held.pairs])
    mean, error, interval = found["mean"], found["standard_error"], None
    if error is not None:
        reach = float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / together, found["clusters"] - 1)) * error
        interval = [mean - reach, mean + reach]
    return {"difference": mean, "standard_error": error, "interval": interval}


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _distance_sentence(kind: dict[str, Any]) -> str:
    what, interval = IN_WORDS[kind["control"]], kind["interval"]
    if interval is None:
        return f"it is not known whether the judge can tell real edits from {what}: {_too_few(kind)}"
    numbers = f"(difference {kind['difference']:.2f}, interval {_span(interval)})"
    if kind["told_apart"]:
        return f"the judge tells real edits from {what} {numbers}"
    if interval[1] < 0:
        return f"the judge scores {what} above real edits {numbers}"
    return f"the judge cannot tell real edits from {what} {numbers}"


def _lacking_sentence(outcomes: Sequence[dict[str, Any]], chosen: set[str]) -> list[str]:
    """Say for how many samples with controls those that need another sample could not be made; empty if for none."""
    edited = [o for o in outcomes if o["image_sha256"] is not None]
    own = [o for o in edited if o["sample_id"] in chosen]
    lacking = [
        o
        for o in own
        if all(other["source"] == o["source"] or other["instruction"] == o["instruction"] for other in edited)
    ]
    if not lacking:
        return []
    what = " and ".join(IN_WORDS[kind] for kind in WRONG_EDITS if kind.startswith("other_"))
    return [
        f"{what} could not be shown for {len(lacking)} of {len(own)} samples: no other edited sample has another "
        "source image and another instruction"
    ]


def _repeatability_sentence(found: dict[str, Any]) -> str:
    if not found["n"]:
        return "it is not known whether the judge repeats itself: no edit has a score of both times"
    return (
        f"judged a second time, {found['identical']:.0%} of {found['n']} edits have the same score (mean absolute "
        f"difference {found['mean_absolute_difference']:.2f})"
    )


def _order_sentence(found: dict[str, Any]) -> str:
    interval = found["interval"]
    if interval is None:
        return f"it is not known whether the order of the images matters: {_too_few(found)}"
    numbers = f"(edit first minus source first {found['difference']:.2f}, interval {_span(interval)})"
    if interval[0] <= 0 <= interval[1]:
        return f"no effect of the order of the images is seen {numbers}"
    return f"the order of the images changes the scores {numbers}"


def _span(interval: list[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _too_few(found: dict[str, Any]) -> str:
    return f"{found['n']} pairs of scores, of fewer than two source images"
