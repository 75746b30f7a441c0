"""Whether one run scores higher than another on the same samples: pure functions on scores.

Pairing by sample takes out what makes some samples easier than others: Miller 2024, arXiv 2411.00640, section 4.2.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from editbench.analysis.statistics import TEN, Scale, clustered_mean

POWER = 0.8
SIGNIFICANCE = 0.05
_EXACT_UP_TO = 16
"""Clusters: 2 ** 16 sign patterns are all counted; with more, `_PATTERNS` are drawn."""
_PATTERNS = 9_999
_PATTERNS_AT_ONCE = 500


def compare_scores(
    base: Sequence[float], other: Sequence[float], clusters: Sequence[Hashable], scale: Scale = TEN
) -> dict[str, Any]:
    """Compare the scores of two runs on the same samples.

    Args:
        base, other: A score of each sample, in one order.
        clusters: For each sample the digest of its source image.
        scale: Lowest and highest score.

    Returns:
        `n`, `clusters`, `base_mean`, `other_mean`; `difference` (other - base), its clustered `standard_error` and 95 %
        `interval`; `p` and `method` of `sign_flip_test`; `wins`, `ties`, `losses` of `other`; `smallest_detectable`.
        What cannot be known is None.
    """
    differences = np.asarray(other, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    width = scale[1] - scale[0]
    spread = clustered_mean(differences.tolist(), clusters, within=(-width, width))
    p, method = sign_flip_test(differences, clusters)
    return {
        "n": spread["n"],
        "clusters": spread["clusters"],
        "base_mean": float(np.mean(base)) if len(base) else None,
        "other_mean": float(np.mean(other)) if len(other) else None,
        "difference": spread["mean"],
        "standard_error": spread["standard_error"],
        "interval": spread["interval"],
        "p": p,
        "method": method,
        "wins": int((differences > 0).sum()),
        "ties": int((differences == 0).sum()),
        "losses": int((differences < 0).sum()),
        "smallest_detectable": smallest_detectable(spread["standard_error"], spread["clusters"]),
    }


def sign_flip_test(differences: NDArray[np.float64], clusters: Sequence[Hashable]) -> tuple[float | None, str | None]:
    """Test whether differences are symmetric about 0, flipping the signs of whole clusters.

    Fisher's randomization test (Fisher 1935, The Design of Experiments, section 21): if it does not matter which run is
    which, a cluster's sum is as likely to have the other sign. Two-sided, on the sum of all.

    Returns:
        p and `exact` up to 16 clusters, else `monte carlo` with 9,999 sign patterns (p is then 1/10,000 at least);
        None and None with fewer than two clusters.
    """
    numbers: dict[Hashable, int] = {}
    for cluster in clusters:
        numbers.setdefault(cluster, len(numbers))
    count = len(numbers)
    if count < 2:
        return None, None
    sums = np.bincount([numbers[cluster] for cluster in clusters], weights=differences, minlength=count)
    reached = abs(float(sums.sum())) - 1e-9 * float(np.abs(sums).sum())  # sums in another order differ in last bits
    if count <= _EXACT_UP_TO:
        totals = np.zeros(1)
        for value in sums:
            totals = np.concatenate([totals + value, totals - value])
        return float((np.abs(totals) >= reached).mean()), "exact"
    generator, hits = np.random.default_rng(0), 0
    for left in range(_PATTERNS, 0, -_PATTERNS_AT_ONCE):
        signs = generator.integers(0, 2, (min(left, _PATTERNS_AT_ONCE), count), dtype=np.int8)
        hits += int((np.abs((2.0 * signs - 1) @ sums) >= reached).sum())
    return (hits + 1) / (_PATTERNS + 1), "monte carlo"


def smallest_detectable(standard_error: float | None, clusters: int) -> float | None:
    """Give the smallest true difference that a t-test at 5 % would have found with 80 % probability.

    With clusters - 1 degrees of freedom and a noncentral t: Cohen 1988, Statistical Power Analysis, chapter 2.

    Args:
        standard_error: Of the mean difference.
        clusters: How many it rests on.

    Returns:
        The difference in points; None without a standard error above 0.
    """
    if not standard_error:
        return None
    freedom = clusters - 1
    limit = stats.t.isf(SIGNIFICANCE / 2, freedom)

    def power_lacking(shift: float) -> float:  # that a t this far on the wrong side counts too adds nothing by then
        return float(stats.nct.sf(limit, freedom, shift)) - POWER

    return float(optimize.brentq(power_lacking, 0, 4 * limit)) * standard_error


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Correct p-values for their number: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.

    Args:
        p_values: By name; None where there was no test, which then does not count as one.

    Returns:
        The corrected p-values by name, at most 1.
    """
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    tested = sorted((p, name) for name, p in p_values.items() if p is not None)
    least = 0.0
    for rank, (p, name) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        corrected[name] = least
    return corrected


def tells_apart(comparison: Mapping[str, Any]) -> bool:
    """Whether a comparison, or one with `p_holm`, found a difference at 5 %."""
    p = comparison.get("p_holm", comparison["p"])
    return p is not None and not math.isnan(p) and p < SIGNIFICANCE
