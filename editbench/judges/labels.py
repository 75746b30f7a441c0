"""Reads the score out of the probabilities that a judge gives to labels such as the digits 0 to 9."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DECIMALS = 9
"""Probabilities are rounded to so many decimals first, so that a stored judgment gives its score again exactly."""


@dataclass(frozen=True)
class LabelScore:
    """What a distribution over labels says.

    Attributes:
        probabilities: Of each label as the next token, 0 to 1.
        label: The most likely label, the first of several; None if none has any probability.
        mass: Probability of all labels together, 0 to 1.
        score: Mean of the labels' scores by their probabilities; None if `mass` is too little.
        spread: Standard deviation of the score under the same distribution; None without a score.
    """

    probabilities: dict[str, float]
    label: str | None
    mass: float
    score: float | None
    spread: float | None


def read_labels(probabilities: Sequence[float], labels: Mapping[str, float], min_mass: float) -> LabelScore:
    """Return the score as the mean over the labels (arXiv 2503.03064): sum p_i * score_i / sum p_i.

    Args:
        probabilities: Of each label as the next token, in the order of `labels`.
        labels: Score of each label.
        min_mass: With less probability than this on all labels together there is no score; above 0.

    Raises:
        ValueError: the probabilities are no probabilities; NaN and infinity are none.
    """
    if len(probabilities) != len(labels) or not all(0 <= p <= 1 for p in probabilities):
        raise ValueError(f"the judge gave {list(probabilities)}, these are no probabilities of {len(labels)} labels")
    p = [round(float(value), DECIMALS) for value in probabilities]
    mass = math.fsum(p)
    if mass > 1 + 1e-6:
        raise ValueError(f"the judge gave {list(probabilities)}, which sum to more than 1")
    by_label = dict(zip(labels, p, strict=True))
    label = max(by_label, key=by_label.__getitem__) if mass > 0 else None
    score = spread = None
    if mass >= min_mass:
        mean = math.fsum(w * value for w, value in zip(p, labels.values(), strict=True)) / mass
        variance = math.fsum(w * (value - mean) ** 2 for w, value in zip(p, labels.values(), strict=True)) / mass
        score, spread = round(mean, 6), round(math.sqrt(variance), 6)
    return LabelScore(by_label, label, round(min(mass, 1.0), 6), score, spread)
