"""Krippendorff's alpha: how far raters agree beyond chance, whoever rated what."""

import numpy as np
from numpy.typing import NDArray

from editbench.analysis.association import Floats, Integers


def interval_alpha(ratings: Floats, cluster: Integers, draws: NDArray[np.uint16]) -> Floats:
    """Alpha for ratings on an interval scale, in every resample of clusters.

    One minus the observed over the expected disagreement, both as mean squared differences: within the items, and
    between all ratings whatever the item (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, part D). Items
    with fewer than two ratings do not count. 1: raters agree; 0: as by chance; below: they disagree systematically.

    Args:
        ratings: (items, raters), NaN where a rater has not rated.
        cluster: (items,) from 0.
        draws: (clusters, resamples) how often each cluster was drawn.

    Returns:
        (resamples,); NaN where all ratings are equal, or fewer than two raters rated anything together.
    """
    count = np.isfinite(ratings).sum(axis=1)
    ratings, cluster, count = ratings[count > 1], cluster[count > 1], count[count > 1].astype(np.float64)
    given = np.isfinite(ratings)
    centred = np.where(given, ratings - (ratings[given].mean() if len(ratings) else 0.0), 0.0)
    total = centred.sum(axis=1)
    spread = np.where(given, centred - (total / count)[:, None], 0.0)
    within = 2 * count * (spread**2).sum(axis=1) / (count - 1)  # squared differences of all ordered pairs / (count - 1)
    per_item = np.stack([count, within, total, (centred**2).sum(axis=1)])
    per_cluster = np.stack([np.bincount(cluster, values, minlength=len(draws)) for values in per_item])
    ratings_in, observed, sums, squares = per_cluster @ draws.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = 2 * (ratings_in * squares - sums**2) / (ratings_in - 1)
        expected[expected <= 1e-12 * ratings_in * squares] = np.nan
        alpha: Floats = 1 - observed / expected
    return alpha
