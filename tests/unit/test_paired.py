"""Paired comparison against values worked out by hand and against statsmodels and scipy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from editbench.analysis.paired import compare_scores, correct_together, could_tell, holm, tells_apart
from editbench.analysis.sign_flip import least_p, sign_flip_test, smallest_detectable


def test_a_comparison_by_hand():
    # differences 1 1 2 0; deviations 0 0 1 -1: SE = sqrt(4/3 * 2) / 4
    found = compare_scores([1, 2, 3, 4], [2, 3, 5, 4], ["a", "b", "c", "d"])
    assert (found["n"], found["clusters"], found["base_mean"], found["other_mean"]) == (4, 4, 2.5, 3.5)
    assert (found["difference"], found["wins"], found["ties"], found["losses"]) == (1.0, 3, 1, 0)
    assert found["standard_error"] == pytest.approx(math.sqrt(8 / 3) / 4)
    assert found["interval"] == pytest.approx([1 - 3.182446 * 0.408248, 1 + 3.182446 * 0.408248], abs=1e-5)
    assert (found["p"], found["method"]) == (
        0.25,
        "exact",
    )  # of 16 patterns those with + + + and - - -, twice for the 0


def test_edits_of_one_source_flip_together():
    assert sign_flip_test(np.array([1.0, 1.0, 1.0, 1.0]), ["a", "a", "b", "b"]) == (0.5, "exact")
    assert sign_flip_test(np.array([1.0, 1.0, 1.0, 1.0]), ["a", "b", "c", "d"]) == (0.125, "exact")


@pytest.mark.parametrize("scores", [([], []), ([3.0], [4.0]), ([3.0, 4.0], [4.0, 5.0])])
def test_what_one_source_cannot_tell_is_null(scores):
    base, other = scores
    found = compare_scores(base, other, ["one"] * len(base))
    assert [found[key] for key in ("standard_error", "interval", "p", "method", "smallest_detectable")] == [None] * 5
    assert found["difference"] == (1.0 if base else None)
    assert not tells_apart(found)


def test_equal_runs_differ_by_nothing():
    found = compare_scores([1, 2, 3], [1, 2, 3], "abc")
    assert (found["difference"], found["interval"], found["p"], found["smallest_detectable"]) == (
        0.0,
        [0, 0],
        1.0,
        None,
    )


def test_an_exact_test_counts_every_pattern_of_signs():
    differences = np.random.default_rng(5).normal(0.5, 1, 10)
    reached = abs(differences.sum())
    patterns = itertools.product([1, -1], repeat=10)
    wanted = sum(abs(np.dot(signs, differences)) >= reached - 1e-9 for signs in patterns) / 1024
    assert sign_flip_test(differences, range(10)) == (pytest.approx(wanted), "exact")
    exact = stats.permutation_test(
        (differences, 0 * differences), lambda x, y: np.mean(x - y), permutation_type="samples"
    )
    assert wanted == pytest.approx(exact.pvalue)


def test_with_many_sources_patterns_are_drawn_and_the_same_each_time():
    differences = np.random.default_rng(6).normal(0.2, 1, 300)
    p, method = sign_flip_test(differences, range(300))
    assert method == "monte carlo"
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert sign_flip_test(differences, range(300)) == (p, method)
    assert sign_flip_test(np.ones(300), range(300))[0] == 1e-4  # never 0


@pytest.mark.parametrize("clusters", [20, 200, 3000])
def test_with_many_sources_the_smallest_detectable_difference_is_statsmodels(clusters):
    wanted = TTestPower().solve_power(nobs=clusters, alpha=0.05, power=0.8) * math.sqrt(clusters)
    assert smallest_detectable(0.5, clusters) == pytest.approx(wanted / 2, rel=1e-4)


def test_holm_is_statsmodels():
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "none": None}
    corrected = holm(p_values)
    assert corrected.pop("none") is None
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    wanted = multipletests([0.01, 0.04, 0.03, 0.005], method="holm")[1]
    assert list(corrected.values()) == pytest.approx(wanted.tolist())


@pytest.mark.parametrize(("clusters", "tests"), [(6, 1), (8, 1), (8, 5), (11, 3), (40, 1)])
def test_a_real_difference_is_found_as_often_as_the_power_says(clusters, tests):
    """Simulated: with a true difference of the smallest detectable size, about 80 % of tests find it."""
    rng = np.random.default_rng(8)
    shift = smallest_detectable(1 / math.sqrt(clusters), clusters, tests)
    found = 0
    for _ in range(300):
        p, _ = sign_flip_test(rng.normal(shift, 1, clusters), range(clusters))
        found += p * tests < 0.05
    assert 0.72 <= found / 300 <= 0.88


@pytest.mark.parametrize(("clusters", "tests"), [(2, 1), (5, 1), (6, 2), (9, 20), (17, 500)])
def test_where_the_test_cannot_find_any_difference_none_is_called_detectable(clusters, tests):
    p, _ = sign_flip_test(np.ones(clusters), range(clusters))
    assert least_p(clusters, tests) == pytest.approx(p * tests)
    assert p * tests >= 0.05
    assert smallest_detectable(1.0, clusters, tests) is None


def test_what_could_be_found_is_corrected_for_the_number_of_tests():
    rng = np.random.default_rng(9)
    made = [compare_scores(np.zeros(n), rng.normal(0, 1, n), range(n)) for n in (6, 12, 1)]
    alone = [found["smallest_detectable"] for found in made]
    assert [could_tell(found) for found in made] == [True, True, False]
    correct_together(made)
    assert [found["least_p"] for found in made] == [2 / 32, 2 / 2048, None]
    assert [could_tell(found) for found in made] == [False, True, False]
    assert made[0]["smallest_detectable"] is None
    assert made[1]["smallest_detectable"] > 1.05 * alone[1]
