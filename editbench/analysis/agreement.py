"""Whether a judge agrees with people, beside how far people agree with each other."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editbench.analysis.association import CORRELATIONS, Floats, Integers, Scores, associate, draw_clusters
from editbench.analysis.estimates import Estimate, average, unknown
from editbench.analysis.krippendorff import interval_alpha

RELATIONS = {
    "judge_with_mean": "judge with the raters' mean",
    "judge_with_rater": "judge with a single rater",
    "rater_with_rater": "rater with rater",
}
"""What is compared with what. The last one is the ceiling for the second: single raters are as noisy in both."""

DECIMALS = 9
"""Scores that are equal to so many are equal: sums of the same numbers in another order may differ beyond them."""

FEWEST_ITEMS = 3
"""Two items always correlate perfectly."""

Section = dict[str, dict[str, Estimate]]
"""The figures of some items: per relation, per measure. Those of rater with rater hold `alpha` too."""


@dataclass(frozen=True)
class RatedItems:
    """Edits, with the judge's score and people's ratings of each.

    Attributes:
        judge: (items,), NaN without a score.
        raters: (items, raters), NaN where a rater has not rated the item.
        model: Per item, whose edit it is.
        cluster: (items,) from 0; items of one source image, or sample, belong together.
    """

    judge: Floats
    raters: Floats
    model: Sequence[str]
    cluster: Integers


def measure_agreement(items: RatedItems, measures: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """Measure how far judge and raters agree, on the items with the judge's score and at least one rating.

    Args:
        items: All that was judged or rated.
        measures: Which of `association.MEASURES`.
        resamples: Of the clusters, for the intervals (percentile bootstrap); the same ones for every figure.
        seed: Of the resampling.

    Returns:
        `counts` of the items; `pooled`, over all items; `models`, the same over each model's items, and `mean`, the
        models' mean (correlations by Fisher's z), empty and None where there is but one model. Each of these holds,
        for every relation and measure, what `Estimate.to_dict` gives, and `alpha` under `rater_with_rater`.
    """
    judged, rated = np.isfinite(items.judge), np.isfinite(items.raters).any(axis=1)
    compared = np.flatnonzero(judged & rated)
    names, cluster = np.unique(items.cluster[compared], return_inverse=True)
    data = np.ones((len(names), 1), dtype=np.uint16)
    draws = np.hstack([data, draw_clusters(len(names), resamples, seed)]) if len(names) > 1 else data
    model = np.asarray(items.model, dtype=object)[compared]

    def section(chosen: NDArray[np.bool_]) -> Section:
        at = compared[chosen]
        return _measure(items.judge[at], items.raters[at], cluster[chosen], draws, measures)

    models = {name: section(model == name) for name in dict.fromkeys(items.model) if (model == name).any()}
    pooled = section(np.ones(len(compared), dtype=bool))
    several = len(models) > 1
    return {
        "counts": {
            "compared": len(compared),
            "clusters": len(names),
            "judged_but_not_rated": int((judged & ~rated).sum()),
            "rated_but_without_score": int((rated & ~judged).sum()),
            "neither": int((~rated & ~judged).sum()),
            "ratings": int(np.isfinite(items.raters[compared]).sum()),
            "ratings_per_item": _per_item(items.raters[compared]),
        },
        "pooled": _plain(pooled),
        "models": {
            name: {"items": int((model == name).sum()), **_plain(found)} for name, found in models.items() if several
        },
        "mean": _plain(_mean(list(models.values()))) if several else None,
    }


def _measure(
    judge: Floats, raters: Floats, cluster: Integers, draws: NDArray[np.uint16], measures: Sequence[str]
) -> Section:
    """All figures of some items; the first column of `draws` is the data as they are."""
    columns = [column for column in raters.T if np.isfinite(column).any()]
    counts = np.isfinite(raters).sum(axis=1)
    mean = np.nansum(raters, axis=1) / counts
    pairs: dict[str, list[tuple[Floats, Floats]]] = {
        "judge_with_mean": [(judge, mean)],
        "judge_with_rater": [(judge, column) for column in columns],
        "rater_with_rater": list(itertools.combinations(columns, 2)),
    }
    found: Section = {}
    for relation, vectors in pairs.items():
        each = [_associate(x, y, cluster, draws) for x, y in vectors] or [lambda _: unknown("fewer than two raters")]
        found[relation] = {
            name: average([estimate(name) for estimate in each], name in CORRELATIONS) for name in measures
        }
    alpha = interval_alpha(raters, cluster, draws)
    undefined = "all ratings are equal, or no item has two" if np.isnan(alpha[0]) else None
    found["rater_with_rater"]["alpha"] = Estimate(float(alpha[0]), alpha[1:], undefined)
    return found


def _associate(x: Floats, y: Floats, cluster: Integers, draws: NDArray[np.uint16]) -> Callable[[str], Estimate]:
    """Measure one pair of vectors on the items that both have; returns what gives the estimate of a measure."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < FEWEST_ITEMS:
        return lambda _: unknown(f"fewer than {FEWEST_ITEMS} items have both scores")
    measured = associate(Scores(np.round(x[both], DECIMALS), np.round(y[both], DECIMALS), cluster[both]), draws)

    def estimate(name: str) -> Estimate:
        values = measured[name]
        undefined = "the scores of one side are all equal" if np.isnan(values[0]) else None
        return Estimate(float(values[0]), values[1:], undefined)

    return estimate


def _mean(sections: Sequence[Section]) -> Section:
    """The mean over models of every figure."""
    return {
        relation: {name: average([s[relation][name] for s in sections], name in CORRELATIONS) for name in figures}
        for relation, figures in sections[0].items()
    }


def _plain(section: Section) -> dict[str, Any]:
    return {
        relation: {name: estimate.to_dict() for name, estimate in figures.items()}
        for relation, figures in section.items()
    }


def _per_item(raters: Floats) -> dict[str, int]:
    """How many items have how many ratings."""
    numbers, items = np.unique(np.isfinite(raters).sum(axis=1), return_counts=True)
    return {str(number): int(count) for number, count in zip(numbers, items, strict=True)}
