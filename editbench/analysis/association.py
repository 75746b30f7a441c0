"""How far two lists of scores of the same items go together, also in resamples of the items' clusters.

A resample is told by how often each cluster was drawn; every item of the cluster is in it that often. All measures are
worked out from these counts for many resamples at once, each as if its items lay there and were ranked anew.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]

MEASURES = ("spearman", "kendall", "pearson", "accuracy", "same_sign")
CORRELATIONS = ("spearman", "kendall", "pearson")

_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Scores:
    """Two scores of each item, and the cluster it belongs to.

    Attributes:
        x, y: (items,) finite scores; equal ones are ties.
        cluster: (items,) from 0; items of one cluster are drawn together.
    """

    x: Floats
    y: Floats
    cluster: Integers


def draw_clusters(clusters: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """Draw as many clusters as there are, with replacement, again and again.

    Returns:
        (clusters, resamples): how often each one was drawn.
    """
    if clusters == 0:
        return np.zeros((0, resamples), dtype=np.uint16)
    drawn = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), resamples)
    return np.ascontiguousarray(drawn.T.astype(np.uint16))


def associate(scores: Scores, draws: NDArray[np.uint16]) -> dict[str, Floats]:
    """Measure how far two lists of scores go together, in every resample.

    - `pearson`; `spearman`: the same of midranks; `kendall`: tau-b (Kendall 1945), which scipy.stats calls by the same
      names. NaN where either list is constant.
    - `accuracy`: share of the pairs of items in which both lists name the same one as better, or both a tie: acc_eq of
      Deutsch, Foster and Freitag 2023 (arXiv 2305.14324, section 5). Only equal scores are a tie, there is no
      calibrated threshold. An item that a resample holds twice makes no pair with itself.
    - `same_sign`: share of the items whose two scores have the same sign, 0 being one.

    Args:
        scores: The two lists.
        draws: (clusters, resamples) as `draw_clusters` gives them; a column of ones is the data as they are.

    Returns:
        For each of `MEASURES` an array (resamples,).
    """
    pairs = _Pairs(scores, len(draws))
    step = max(1, _NUMBERS_AT_ONCE // max(pairs.size, 1))
    parts = [pairs.measure(draws[:, begin : begin + step]) for begin in range(0, draws.shape[1], step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in MEASURES}


class _Pairs:
    """What of two lists does not depend on the resample: their cells (distinct pairs of scores) and all pairs of these.

    The number of concordant pairs is a quadratic form in how often each cell, or each cluster, was drawn; whichever is
    fewer is used.
    """

    def __init__(self, scores: Scores, clusters: int) -> None:
        cells, cell = np.unique(np.stack([scores.x, scores.y], axis=1), axis=0, return_inverse=True)
        shape = (len(cells), clusters)
        held = sparse.coo_array((np.ones(len(cell)), (cell.reshape(-1), scores.cluster)), shape=shape)
        self._held = sparse.csr_array(held)  # (cells, clusters): items of the cluster in the cell
        self._items = np.bincount(scores.cluster, minlength=clusters).astype(np.float64)
        self._x, self._y = cells[:, :1], cells[:, 1:]
        levels = (np.unique(column, return_inverse=True)[1].astype(np.float32) for column in cells.T)
        x, y = (np.sign(level[:, None] - level[None, :]) for level in levels)
        self._forms = [x * y, x * x, y * y, (x == y).astype(np.float32)]
        self._by_cluster = clusters < len(cells)
        if self._by_cluster:
            self._forms = [(self._held.T @ (self._held.T @ form).T).T.astype(np.float32) for form in self._forms]
        self.size = max(shape)

    def measure(self, draws: NDArray[np.uint16]) -> dict[str, Floats]:
        drawn = draws.astype(np.float64)
        weights: Floats = np.asarray(self._held @ drawn)  # (cells, resamples)
        items = weights.sum(axis=0)
        counts = (drawn if self._by_cluster else weights).astype(np.float32)
        order, untied_x, untied_y, same = ((counts * (form @ counts)).sum(axis=0, dtype=float) for form in self._forms)
        itself = self._items @ drawn**2
        x, y = (np.broadcast_to(values, weights.shape) for values in (self._x, self._y))
        with np.errstate(divide="ignore", invalid="ignore"):
            measured = {
                "spearman": _pearson(weights, _midranks(self._x, weights), _midranks(self._y, weights)),
                "kendall": order / np.sqrt(untied_x * untied_y),
                "pearson": _pearson(weights, x, y),
                "accuracy": (same - itself) / (items**2 - itself),
                "same_sign": (weights * (np.sign(x) == np.sign(y))).sum(axis=0) / items,
            }
        constant = (untied_x == 0) | (untied_y == 0)
        return measured | {name: np.where(constant, np.nan, measured[name]) for name in CORRELATIONS}


def _midranks(values: Floats, weights: Floats) -> Floats:
    """Rank the cells of each resample by their value, items of equal value in the middle of their places."""
    level = np.unique(values, return_inverse=True)[1].reshape(-1)
    shape = (int(level.max(initial=-1)) + 1, len(level))
    belongs = sparse.csr_array((np.ones(len(level)), (level, np.arange(len(level)))), shape=shape)
    of_level: Floats = np.asarray(belongs @ weights)  # (distinct values, resamples): items of that value
    ranks: Floats = (np.cumsum(of_level, axis=0) - (of_level - 1) / 2)[level]
    return ranks


def _pearson(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Pearson's correlation over the cells (rows) of each resample (columns)."""
    items = weights.sum(axis=0)
    x = x - (weights * x).sum(axis=0) / items
    y = y - (weights * y).sum(axis=0) / items
    weighted = weights * x
    covariance, variance = (weighted * y).sum(axis=0), (weighted * x).sum(axis=0) * (weights * y * y).sum(axis=0)
    correlation: Floats = np.clip(covariance / np.sqrt(variance), -1, 1)
    return correlation
