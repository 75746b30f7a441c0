"""Figures with their bootstrap intervals: averaged, and as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from editbench.analysis.association import Floats

LEVEL = 0.95
MOST_UNDEFINED = 0.05
"""Share of resamples in which a figure may be undefined; with more of them there is no interval."""


@dataclass(frozen=True)
class Estimate:
    """One figure.

    Attributes:
        value: NaN where it cannot be known.
        resampled: (resamples,) the same in each resample; NaN where that one leaves it undefined. May be empty.
        reason: Why `value` is NaN, or why something was left out of it.
        averaged, left_out: Of how many figures it is the mean, and how many were undefined and are not in it.
    """

    value: float
    resampled: Floats
    reason: str | None = None
    averaged: int = 1
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data: None for what is not known; `interval` holds the 95 % percentile interval."""
        known = bool(np.isfinite(self.value))
        defined = self.resampled[np.isfinite(self.resampled)]
        undefined = len(self.resampled) - len(defined)
        interval, reason = None, self.reason
        if known and len(self.resampled) and undefined <= MOST_UNDEFINED * len(self.resampled):
            tail = (1 - LEVEL) / 2
            interval = [float(bound) for bound in np.quantile(defined, [tail, 1 - tail])]
        elif known and len(self.resampled):
            reason = reason or f"no interval: undefined in {undefined} of {len(self.resampled)} resamples"
        return {
            "value": float(self.value) if known else None,
            "interval": interval,
            "reason": reason,
            "averaged": self.averaged,
            "left_out": self.left_out,
            "undefined_resamples": undefined,
        }


def unknown(reason: str) -> Estimate:
    """A figure that cannot be known."""
    return Estimate(float("nan"), np.empty(0), reason)


def average(estimates: Sequence[Estimate], fisher: bool) -> Estimate:
    """Average the figures that are known.

    Args:
        estimates: At least one; resampled alike, so that what they share stays shared. A resample's mean is over those
            that it leaves defined, as the value is.
        fisher: Average correlations r as z = artanh r, and take the mean back by tanh (Fisher 1921).
    """
    known = [estimate for estimate in estimates if np.isfinite(estimate.value)]
    if not known:
        return unknown(estimates[0].reason or "not known")
    reason = next((estimate.reason for estimate in estimates if estimate.reason), None)
    left_out = len(estimates) - len(known)
    if len(known) == 1:
        return Estimate(known[0].value, known[0].resampled, reason, 1, left_out)
    values = np.stack([np.append(estimate.value, estimate.resampled) for estimate in known])
    there = np.isfinite(values)
    if fisher:
        perfect = (np.abs(values) > 1 - 1e-12).any(axis=0)  # of no finite z
        if perfect[0]:
            return unknown("a correlation is perfect, so that its Fisher z is infinite and there is no mean")
        values = np.where(perfect, np.nan, np.arctanh(np.where(perfect, 0, values)))
    with np.errstate(invalid="ignore"):
        mean = np.where(there, values, 0).sum(axis=0) / there.sum(axis=0)
    mean = np.tanh(mean) if fisher else mean
    return Estimate(float(mean[0]), mean[1:], reason, len(known), left_out)
