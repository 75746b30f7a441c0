"""Statistics of scores: pure functions on arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

Summary = dict[str, float | int | None]


def summarize(scores: Sequence[float]) -> Summary:
    """Summarize scores.

    Args:
        scores: Scores from 0 to 10, those of failed samples left out (how many that are is reported beside it).

    Returns:
        `mean`, `std` (of the sample, n - 1 in the denominator), `median`, `min`, `max` and `n`. What cannot be
        known is None: all but `n` without a score, `std` with a single one.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        return {"mean": None, "std": None, "median": None, "min": None, "max": None, "n": 0}
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if values.size > 1 else None,
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
        "n": int(values.size),
    }


def extreme_categories(means: Mapping[str, float | None]) -> tuple[str | None, str | None]:
    """Name the categories with the highest and the lowest mean.

    Args:
        means: Mean per category; None for a category without a score.

    Returns:
        (best, worst), each the first of equals; None where fewer than two different means are known.
    """
    known = {category: mean for category, mean in means.items() if mean is not None}
    if len(set(known.values())) < 2:
        return None, None
    return max(known, key=lambda c: known[c]), min(known, key=lambda c: known[c])
