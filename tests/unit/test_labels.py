"""Scores from label probabilities, on values computed by hand."""

import math

import pytest

from editbench.judges.labels import read_labels

DIGITS = {str(digit): float(digit) for digit in range(10)}


def on(**given: float) -> list[float]:
    """Probabilities of the digits, 0 but for those given as d7=0.5."""
    return [given.get(f"d{digit}", 0.0) for digit in range(10)]


@pytest.mark.parametrize(
    ("probabilities", "score", "spread", "mass", "label"),
    [
        (on(d7=1.0), 7.0, 0.0, 1.0, "7"),
        (on(d0=1.0), 0.0, 0.0, 1.0, "0"),
        (on(d6=0.25, d8=0.75), 7.5, 0.866025, 1.0, "8"),  # sqrt(0.25 * 1.5**2 + 0.75 * 0.5**2)
        (on(d6=0.2, d8=0.6), 7.5, 0.866025, 0.8, "8"),  # the same, the rest of the probability lies elsewhere
        (on(d0=0.25, d9=0.25), 4.5, 4.5, 0.5, "0"),  # just enough; of two the first
        ([0.1] * 10, 4.5, 2.872281, 1.0, "0"),  # sqrt(99 / 12)
    ],
)
def test_the_score_is_the_mean_over_the_labels(probabilities, score, spread, mass, label) -> None:
    found = read_labels(probabilities, DIGITS, 0.5)
    assert (found.score, found.spread, found.mass, found.label) == (score, spread, mass, label)
    assert found.probabilities == dict(zip(DIGITS, probabilities, strict=True))


def test_labels_have_the_scores_given_for_them() -> None:
    found = read_labels([0.5, 0.3, 0.1], {"good": 10.0, "fair": 5.0, "bad": 0.0}, 0.5)
    assert (found.score, found.label) == (round(6.5 / 0.9, 6), "good")


@pytest.mark.parametrize("probabilities", [on(d7=0.49), on(), on(d1=0.2, d2=0.2)])
def test_too_little_probability_on_the_labels_is_no_score(probabilities) -> None:
    found = read_labels(probabilities, DIGITS, 0.5)
    assert (found.score, found.spread, found.mass) == (None, None, sum(probabilities))
    assert (found.label is None) == (sum(probabilities) == 0)


@pytest.mark.parametrize(
    "probabilities",
    [on(d7=math.nan, d8=1.0), on(d7=math.inf), on(d7=-0.1, d8=1.0), on(d7=1.5), on(d7=0.6, d8=0.6), [1.0], []],
)
def test_what_are_no_probabilities_is_an_error(probabilities) -> None:
    with pytest.raises(ValueError, match="the judge gave"):
        read_labels(probabilities, DIGITS, 0.5)


def test_what_is_stored_gives_the_same_score_again() -> None:
    found = read_labels([1 / 3, 1 / 7, 1 / 11] + [1 / 77] * 7, DIGITS, 0.5)
    assert read_labels(list(found.probabilities.values()), DIGITS, 0.5) == found
