"""How well a judge's scores agree with true ones: rank correlation and calibration."""

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import spearmanr

BINS = 5


def judge_against_truth(judged: Sequence[float], true: Sequence[float]) -> dict[str, Any]:
    """Compare a judge's scores with the true ones of the same samples.

    Args:
        judged, true: 0 to 10, in the same order.

    Returns:
        `n`; `spearman`, equal scores sharing their mean rank, None below three samples or where all of one side are
        equal; `mean_error`, judged minus true; `mean_absolute_error`; `calibration`, a row for each fifth of the
        judge's scale that holds samples: `from` and `to` (of the judge's score, the last one including its end), `n`,
        mean `judged` and mean `true`.

    Raises:
        ValueError: the two are not of one length, or a score is not from 0 to 10.
    """
    if len(judged) != len(true):
        raise ValueError(f"{len(judged)} judged and {len(true)} true scores do not belong together")
    if not all(0 <= score <= 10 for score in [*judged, *true]):
        raise ValueError("scores are from 0 to 10")
    differences = [one - other for one, other in zip(judged, true, strict=True)]
    n = len(differences)
    return {
        "n": n,
        "spearman": rank_correlation(judged, true),
        "mean_error": math.fsum(differences) / n if n else None,
        "mean_absolute_error": math.fsum(map(abs, differences)) / n if n else None,
        "calibration": _calibration(judged, true),
    }


def rank_correlation(judged: Sequence[float], true: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None below three samples, or where all of one side are equal."""
    if len(judged) < 3 or len(set(judged)) == 1 or len(set(true)) == 1:
        return None
    return float(spearmanr(judged, true).statistic)


def _calibration(judged: Sequence[float], true: Sequence[float]) -> list[dict[str, float]]:
    width = 10 / BINS
    rows = []
    for number in range(BINS):
        pairs = [(j, t) for j, t in zip(judged, true, strict=True) if min(int(j / width), BINS - 1) == number]
        if pairs:
            means = [math.fsum(values) / len(pairs) for values in zip(*pairs, strict=True)]
            bounds = {"from": number * width, "to": (number + 1) * width}
            rows.append({**bounds, "n": len(pairs), "judged": means[0], "true": means[1]})
    return rows
