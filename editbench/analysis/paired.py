"""Whether one run scores higher than another on the same samples: pure functions on scores.

Pairing by sample takes out what makes some samples easier than others: Miller 2024, arXiv 2411.00640, section 4.2.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from editbench.analysis.sign_flip import SIGNIFICANCE, least_p, sign_flip_test, smallest_detectable
from editbench.analysis.statistics import TEN, Scale, clustered_mean


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
        `interval`; `p` and `method` of `sign_flip_test`; `wins`, `ties`, `losses` of `other`; `least_p` and
        `smallest_detectable`, see there. What cannot be known is None.
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
        "least_p": least_p(spread["clusters"]),
        "smallest_detectable": smallest_detectable(spread["standard_error"], spread["clusters"]),
    }


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


def correct_together(comparisons: Sequence[dict[str, Any]]) -> None:
    """Add `p_holm` to comparisons made together, and correct what they could have found for their number.

    A difference is sure to be found where it is the only one, so each is measured against Holm's first step, the
    smallest p times the number of tests: that is what `least_p` and `smallest_detectable` stand for from here on.
    """
    corrected = holm({str(at): found["p"] for at, found in enumerate(comparisons)})
    tests = sum(p is not None for p in corrected.values())
    for found, p in zip(comparisons, corrected.values(), strict=True):
        found["p_holm"] = p
        found["least_p"] = least_p(found["clusters"], tests)
        found["smallest_detectable"] = smallest_detectable(found["standard_error"], found["clusters"], tests)


def could_tell(comparison: Mapping[str, Any]) -> bool:
    """Whether any difference, however large, could have been found at 5 %: with few source images none can."""
    least = comparison.get("least_p")
    return comparison["p"] is not None and (least is None or least < SIGNIFICANCE)


def tells_apart(comparison: Mapping[str, Any]) -> bool:
    """Whether a comparison, or one with `p_holm`, found a difference at 5 %."""
    p = comparison.get("p_holm", comparison["p"])
    return p is not None and not math.isnan(p) and p < SIGNIFICANCE
