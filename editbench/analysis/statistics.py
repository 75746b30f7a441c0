"""Means of scores, and how far they can be trusted: pure functions on arrays.

Samples that share a source image are not independent, so they count as one cluster: Miller 2024, "Adding Error Bars to
Evals", arXiv 2411.00640, section 2.2.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Summary = dict[str, Any]

Scale = tuple[float, float]
"""Lowest and highest score there can be."""

TEN: Scale = (0.0, 10.0)
CONFIDENCE = 0.95
RESAMPLES = 10_000
_VALUES_AT_ONCE = 4_000_000
"""Of a bootstrap's resamples: bounds its memory."""


def summarize(scores: Sequence[float], clusters: Sequence[Hashable] | None = None, scale: Scale = TEN) -> Summary:
    """Summarize scores.

    Args:
        scores: Scores on the scale, those of failed samples left out (how many that are is reported beside it).
        clusters: For each score what its sample shares with others, the digest of its source image; None: nothing.
        scale: Lowest and highest score.

    Returns:
        `mean`, `std` (of the sample, n - 1 in the denominator), `median`, `min`, `max` and `n`, and of `clustered_mean`
        `clusters`, `standard_error` and `interval`. What cannot be known is None: all but `n` and `clusters` without
        a score, `std` with a single one.
    """
    values = np.asarray(scores, dtype=np.float64)
    spread = clustered_mean(scores, range(len(scores)) if clusters is None else clusters, within=scale)
    known = values.size > 0
    return {
        "mean": spread["mean"],
        "std": float(values.std(ddof=1)) if values.size > 1 else None,
        "median": float(np.median(values)) if known else None,
        "min": float(values.min()) if known else None,
        "max": float(values.max()) if known else None,
        "n": int(values.size),
        "clusters": spread["clusters"],
        "standard_error": spread["standard_error"],
        "interval": spread["interval"],
    }


def clustered_mean(
    values: Sequence[float], clusters: Sequence[Hashable], within: tuple[float, float] = (-math.inf, math.inf)
) -> dict[str, Any]:
    """Give a mean with its standard error clustered, and its 95 % interval.

    With the residuals e of C clusters, SE² = C / (C - 1) · Σ_c (Σ_{i in c} e_i)² / n²: Miller 2024, section 2.2, with
    the factor C / (C - 1) for few clusters. The interval is mean ± t · SE, t with C - 1 degrees of freedom.

    Args:
        values: Any numbers.
        clusters: For each value the name of its cluster.
        within: The interval is cut to this range.

    Returns:
        `mean`, `n`, `clusters`, `standard_error` and `interval` as [low, high]; the last two None with fewer than two
        clusters, `mean` None without values.
    """
    array = np.asarray(values, dtype=np.float64)
    weights = np.full(array.size, 1 / max(array.size, 1))
    return _weighted(array, weights, np.full(array.size, array.mean() if array.size else 0.0), clusters, within)


def macro_mean(
    values: Sequence[float],
    groups: Sequence[Hashable],
    clusters: Sequence[Hashable],
    within: Scale = TEN,
) -> dict[str, Any]:
    """Give the unweighted mean of the groups' means, its standard error clustered as in `clustered_mean`.

    Each value weighs 1 / (groups · size of its group), and its residual is from its group's mean.

    Returns:
        As `clustered_mean`, and `groups`, how many there are. Standard error and interval are None where a group has
        fewer than two clusters, since nothing tells how sure its mean is.
    """
    array = np.asarray(values, dtype=np.float64)
    names, group_of = _numbered(groups)
    sizes = np.bincount(group_of, minlength=names).astype(np.float64)
    means = np.bincount(group_of, weights=array, minlength=names) / np.maximum(sizes, 1)
    weights = 1 / (names * sizes[group_of]) if names else array
    found = _weighted(array, weights, means[group_of] if names else array, clusters, within)
    if any(len({c for c, g in zip(clusters, groups, strict=True) if g == group}) < 2 for group in set(groups)):
        found["standard_error"] = found["interval"] = None
    return found | {"groups": names}


def _weighted(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    centres: NDArray[np.float64],
    clusters: Sequence[Hashable],
    within: tuple[float, float],
) -> dict[str, Any]:
    count, cluster_of = _numbered(clusters)
    mean = float(weights @ values) if values.size else None
    error = interval = None
    if mean is not None and count > 1:
        sums = np.bincount(cluster_of, weights=weights * (values - centres), minlength=count)
        error = math.sqrt(float(sums @ sums) * count / (count - 1))
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
        interval = [max(mean - reach, within[0]), min(mean + reach, within[1])]
    return {"mean": mean, "n": values.size, "clusters": count, "standard_error": error, "interval": interval}


def _numbered(names: Sequence[Hashable]) -> tuple[int, NDArray[np.intp]]:
    """How many different names there are, and for each its number."""
    numbers: dict[Hashable, int] = {}
    cluster_of = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)
    return len(numbers), cluster_of


def bootstrap_interval(values: Sequence[float], clusters: Sequence[Hashable], seed: int = 0) -> list[float] | None:
    """Give the 95 % percentile interval of the mean from `RESAMPLES` resamples of whole clusters.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. None with fewer than two clusters.
    """
    count, cluster_of = _numbered(clusters)
    if count < 2:
        return None
    sums = np.bincount(cluster_of, weights=np.asarray(values, dtype=np.float64), minlength=count)
    sizes = np.bincount(cluster_of, minlength=count).astype(np.float64)
    found = stats.bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        batch=max(1, _VALUES_AT_ONCE // count),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return [float(found.low), float(found.high)]


def rate(count: int, of: int) -> dict[str, Any]:
    """Give a rate with its 95 % interval: Wilson 1927, which holds for few samples and for rates near 0 and 1.

    Returns:
        `count`, `of`, `rate` from 0 to 1 and `interval`; the last two None where `of` is 0.
    """
    if not of:
        return {"count": count, "of": of, "rate": None, "interval": None}
    interval = stats.binomtest(count, of).proportion_ci(CONFIDENCE, method="wilson")
    return {"count": count, "of": of, "rate": count / of, "interval": [float(interval.low), float(interval.high)]}


def with_failures(scores: Sequence[float], failed: int, scale: Scale = TEN) -> dict[str, Any]:
    """Say what failures could change: the mean with each at the scale's lower end, and the range to all at its upper.

    Returns:
        `mean_with_failures_as_min`, and `mean_range` as [worst, best]; None where nothing was scored or failed.
    """
    done = len(scores) + failed
    if not done:
        return {"mean_with_failures_as_min": None, "mean_range": None}
    low, high = scale
    worst = (math.fsum(scores) + low * failed) / done
    return {"mean_with_failures_as_min": worst, "mean_range": [worst, worst + (high - low) * failed / done]}


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
