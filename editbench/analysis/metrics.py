"""What a metric's figures of many edits say together, and how far the judge agrees with them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from editbench.analysis.agreement_with_truth import judge_against_truth, rank_correlation
from editbench.analysis.statistics import TEN, Scale, clustered_mean

TRUE_SCORE = "true_score"
"""Name of the figure that is the sample's true score, 0 to 10, so that the judge's can be held against it."""

_NO_BOUNDS = (-math.inf, math.inf)


def summarize_metrics(
    outcomes: Sequence[dict[str, Any]], scale: Scale = TEN, bounds: Mapping[str, Scale] | None = None
) -> dict[str, Any] | None:
    """Sum up what a metric found.

    Args:
        outcomes: Samples with `metrics`, figures by name or None, and `score`, `source`, `category`.
        scale: Lowest and highest score.
        bounds: Lowest and highest value of figures by name, as `Metric` tells them; no interval leaves them.

    Returns:
        `figures`: by name what `clustered_mean` gives of those that are known, the mean by category as `categories`,
        and `spearman`, the rank correlation with the judge's scores; `judge`: what `judge_against_truth` gives where
        there is a `TRUE_SCORE` and scores are from 0 to 10 too, else None. None if no figure of any is known.
    """
    measured = [o for o in outcomes if o.get("metrics")]
    known = dict.fromkeys(name for o in measured for name, value in o["metrics"].items() if value is not None)
    if not known:
        return None
    figures = {name: _sum_up(name, measured, (bounds or {}).get(name, _NO_BOUNDS)) for name in known}
    true = [(o["score"], o["metrics"].get(TRUE_SCORE)) for o in measured]
    pairs = [(judged, known) for judged, known in true if judged is not None and known is not None]
    comparable = pairs and scale == TEN  # a true score is from 0 to 10
    against = judge_against_truth(*zip(*pairs, strict=True)) if comparable else None
    return {"figures": figures, "judge": against}


def _sum_up(name: str, measured: Sequence[dict[str, Any]], within: Scale) -> dict[str, Any]:
    known = [o for o in measured if o["metrics"].get(name) is not None]
    categories: dict[str, list[float]] = {}
    for o in known:
        categories.setdefault(o["category"], []).append(o["metrics"][name])
    judged = [o for o in known if o["score"] is not None]
    return {
        **clustered_mean([o["metrics"][name] for o in known], [o["source"] for o in known], within),
        "categories": {category: sum(values) / len(values) for category, values in categories.items()},
        "spearman": rank_correlation([o["score"] for o in judged], [o["metrics"][name] for o in judged]),
    }
