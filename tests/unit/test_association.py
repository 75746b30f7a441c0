"""Association, alpha and their averages: by hand, as scipy has them, and in resamples as if these lay there."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from editbench.analysis.association import CORRELATIONS, Scores, associate, draw_clusters
from editbench.analysis.estimates import Estimate, average, unknown
from editbench.analysis.krippendorff import interval_alpha

NAN = math.nan
SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}


def measured(x, y):
    scores = Scores(np.array(x, dtype=float), np.array(y, dtype=float), np.arange(len(x)))
    return {name: values[0] for name, values in associate(scores, np.ones((len(x), 1), np.uint16)).items()}


scores_of_items = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3), st.integers(0, 3)), min_size=3, max_size=30)


@settings(deadline=None, max_examples=40)
@given(scores_of_items, st.booleans())
def test_resamples_are_measured_as_if_their_items_lay_there(items, in_many_cells):
    x, y, cluster = np.array(items).T
    x, y = x.astype(float), y + in_many_cells * np.linspace(0, 0.5, len(y))  # fewer or more cells than clusters
    draws = draw_clusters(4, 6, seed=3)
    found = associate(Scores(x, y, cluster), draws)
    for resample in range(6):
        rows = np.repeat(np.arange(len(x)), draws[cluster, resample])
        for name in CORRELATIONS:
            constant = len(rows) < 2 or np.ptp(x[rows]) == 0 or np.ptp(y[rows]) == 0
            expected = NAN if constant else SCIPY[name](x[rows], y[rows])[0]
            assert found[name][resample] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        pairs = [(i, j) for i, j in itertools.combinations(rows, 2) if i != j]
        right = [np.sign(x[i] - x[j]) == np.sign(y[i] - y[j]) for i, j in pairs]
        expected = np.mean(right) if right else NAN
        assert found["accuracy"][resample] == pytest.approx(expected, abs=1e-6, nan_ok=True)
        same = np.mean(np.sign(x[rows]) == np.sign(y[rows])) if len(rows) else NAN
        assert found["same_sign"][resample] == pytest.approx(same, nan_ok=True)


def test_measures_by_hand():
    # pairs of (1,1) (2,2) (3,2) (3,5): right are 1-2, 1-3, 1-4, 2-4; wrong 2-3 (a tie of y alone), 3-4 (of x alone)
    found = measured([1, 2, 3, 3], [1, 2, 2, 5])
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["kendall"] == pytest.approx(4 / 5)
    assert measured([0, 0, 1], [4, 4, 5])["accuracy"] == 1.0, "a tie of both is right"
    assert measured([-1, 0, 1, 2], [-5, 0, -1, 3])["same_sign"] == 0.75


def test_a_constant_side_has_no_correlation_but_accuracy():
    found = measured([5, 5, 5], [1, 2, 2])
    assert all(math.isnan(found[name]) for name in CORRELATIONS)
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_the_draws_follow_from_the_seed_and_keep_the_number_of_clusters():
    draws = draw_clusters(7, 100, seed=5)
    assert draws.shape == (7, 100) and set(draws.sum(axis=0)) == {7}
    assert (draws == draw_clusters(7, 100, seed=5)).all() and (draws != draw_clusters(7, 100, seed=6)).any()


KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T
"""Four observers, twelve units, missing values: the example of Krippendorff 2011, whose interval alpha is 0.849."""


def alpha(ratings, draws=None):
    draws = np.ones((len(ratings), 1), np.uint16) if draws is None else draws
    return interval_alpha(np.asarray(ratings, dtype=float), np.arange(len(ratings)), draws)


def test_alpha_of_the_published_example():
    assert alpha(KRIPPENDORFF)[0] == pytest.approx(0.849, abs=5e-4)
    assert alpha(KRIPPENDORFF + 1e6)[0] == pytest.approx(alpha(KRIPPENDORFF)[0]), "an interval scale has no zero"


def test_alpha_by_hand_and_in_resamples():
    # observed: 2*1/4 = 0.5 (one of two items differs by 1); expected: values 0 0 0 1, 6 ordered pairs of 12 differ
    assert alpha([[0, 0], [0, 1]])[0] == pytest.approx(1 - 0.5 / 0.5)
    draws = draw_clusters(12, 30, seed=1)
    copies = [alpha(np.repeat(KRIPPENDORFF, draws[:, i], axis=0))[0] for i in range(30)]
    assert alpha(KRIPPENDORFF, draws) == pytest.approx(copies)


@pytest.mark.parametrize("ratings", [[[3, 3], [3, 3]], [[1, NAN], [NAN, 2]], [[0.1, 0.1, 0.1]], np.empty((0, 2))])
def test_alpha_is_not_known_where_nothing_varies_or_nobody_rated_the_same(ratings):
    assert np.isnan(alpha(ratings)).all()


def figure(value, *resampled):
    return Estimate(value, np.array(resampled, dtype=float), "constant" if math.isnan(value) else None)


def test_averages_by_hand():
    z = (math.atanh(0.2) + math.atanh(0.8)) / 2
    found = average([figure(0.2, 0.1, NAN), figure(0.8, 0.1, 0.5), figure(NAN, NAN, 0.9)], fisher=True)
    assert found.value == pytest.approx(math.tanh(z))
    assert found.resampled == pytest.approx([0.1, 0.5]), "over what is defined in the resample"
    assert (found.averaged, found.left_out, found.reason) == (2, 1, "constant")
    assert average([figure(0.2, 0.4), figure(0.8, 0.6)], fisher=False).value == pytest.approx(0.5)
    assert average([figure(1.0, 1.0)], fisher=True).value == 1.0, "one figure is its own mean"
    assert math.isnan(average([unknown("nobody"), unknown("x")], fisher=True).value)
    perfect = average([figure(1.0, 0.5), figure(0.2, 0.5)], fisher=True).to_dict()
    assert perfect["value"] is None and "infinite" in perfect["reason"]
    assert math.isnan(average([figure(0.5, 1.0), figure(0.2, 0.5)], fisher=True).resampled[0])


def test_an_interval_holds_the_middle_of_the_resamples_that_are_defined():
    resampled = np.append(np.linspace(0, 1, 1001), [NAN] * 9)
    found = Estimate(0.5, resampled).to_dict()
    assert found["interval"] == pytest.approx([0.025, 0.975])
    assert found["undefined_resamples"] == 9
    many = Estimate(0.5, np.append(np.linspace(0, 1, 90), [NAN] * 10)).to_dict()
    assert many["interval"] is None and many["reason"] == "no interval: undefined in 10 of 100 resamples"
    assert Estimate(0.5, np.empty(0)).to_dict()["interval"] is None
