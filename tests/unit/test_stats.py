"""Statistics against values worked out by hand."""

import math
import statistics

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from running import CHECKOUT, run_python
from scipy.stats import t

from editbench.analysis.histogram import histogram
from editbench.analysis.outcomes import macro
from editbench.analysis.statistics import (
    bootstrap_interval,
    clustered_mean,
    extreme_categories,
    macro_mean,
    rate,
    summarize,
    with_failures,
)
from editbench.views.scores import why_no_interval

PLAIN = ("mean", "std", "median", "min", "max", "n")


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], (None, None, None, None, None, 0)),
        ([7.25], (7.25, None, 7.25, 7.25, 7.25, 1)),
        ([0.0], (0.0, None, 0.0, 0.0, 0.0, 1)),
        ([1, 3], (2.0, math.sqrt(2), 2.0, 1.0, 3.0, 2)),
        ([2, 4, 9], (5.0, math.sqrt(13), 4.0, 2.0, 9.0, 3)),
        ([9, 1, 5, 3], (4.5, math.sqrt(35 / 3), 4.0, 1.0, 9.0, 4)),
        ([6, 6, 6], (6.0, 0.0, 6.0, 6.0, 6.0, 3)),
        ([0, 10], (5.0, math.sqrt(50), 5.0, 0.0, 10.0, 2)),
    ],
)
def test_summary(scores, expected):
    summary = summarize(scores)
    assert tuple(summary[name] for name in PLAIN) == pytest.approx(expected)


@pytest.mark.parametrize("scores", [[], [5.0]])
def test_what_one_cluster_cannot_tell_is_null(scores):
    summary = summarize(scores, ["one"] * len(scores))
    assert (summary["clusters"], summary["standard_error"], summary["interval"]) == (len(scores), None, None)
    assert bootstrap_interval(scores, ["one"] * len(scores)) is None


def test_a_clustered_mean_by_hand():
    # residuals -6.25 -1.25 3.75 3.75, by cluster -7.5 3.75 3.75: SE² = 3/2 * 84.375 / 16
    found = clustered_mean([0, 5, 10, 10], ["a", "a", "b", "c"])
    assert (found["mean"], found["n"], found["clusters"]) == (6.25, 4, 3)
    assert found["standard_error"] == pytest.approx(2.8125)
    assert found["interval"] == pytest.approx([6.25 - 4.302653 * 2.8125, 6.25 + 4.302653 * 2.8125])
    assert clustered_mean([0, 5, 10, 10], ["a", "a", "b", "c"], (0, 10))["interval"] == [0, 10]


def test_single_samples_as_clusters_give_the_usual_standard_error():
    scores = [3.0, 8.0, 4.0, 9.5, 6.0]
    assert clustered_mean(scores, range(5))["standard_error"] == pytest.approx(statistics.stdev(scores) / math.sqrt(5))


def test_clustered_means_agree_with_statsmodels():
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 40, 150)
    scores = rng.normal(6, 1, 150) + rng.normal(0, 1, 40)[clusters]
    how = {"groups": clusters, "use_correction": False}
    fitted = sm.OLS(scores, np.ones(150)).fit(cov_type="cluster", cov_kwds=how)
    count = len(set(clusters.tolist()))
    wanted = float(fitted.bse[0]) * math.sqrt(count / (count - 1))
    assert clustered_mean(scores.tolist(), clusters.tolist())["standard_error"] == pytest.approx(wanted)


def test_the_macro_mean_is_cr2_of_a_regression_on_groups():
    """Against the matrices of Bell and McCaffrey 2002, clusters of all sizes within and across groups."""
    rng = np.random.default_rng(1)
    clusters, groups = rng.integers(0, 9, 40), rng.integers(0, 3, 40)
    scores = rng.normal(6, 1, 40) + rng.normal(0, 1, 9)[clusters]
    design = np.eye(3)[groups]
    fitted = np.linalg.solve(design.T @ design, design.T)
    leftover = np.eye(40) - design @ fitted
    weights = np.full(3, 1 / 3) @ fitted
    terms = []
    for cluster in range(9):
        own = np.flatnonzero(clusters == cluster)
        size, turned = np.linalg.eigh(leftover[np.ix_(own, own)])
        terms.append(weights[own] @ (turned / np.sqrt(size)) @ turned.T @ leftover[own])
    terms = np.array(terms)
    covariance = terms @ terms.T
    freedom = np.trace(covariance) ** 2 / (covariance**2).sum()
    error = float(np.linalg.norm(terms @ scores))
    found = macro_mean(scores.tolist(), groups.tolist(), clusters.tolist(), (-99, 99))
    assert found["mean"] == pytest.approx(float(weights @ scores))
    assert found["standard_error"] == pytest.approx(error)
    reach = float(t.ppf(0.975, freedom)) * error
    assert found["interval"] == pytest.approx([found["mean"] - reach, found["mean"] + reach])


def test_a_macro_mean_of_one_group_of_even_clusters_is_the_clustered_mean():
    values, clusters = [1.0, 2.0, 4.0, 8.0, 5.0, 3.0], ["a", "a", "b", "b", "c", "c"]
    found, wanted = macro_mean(values, ["g"] * 6, clusters), clustered_mean(values, clusters, (0, 10))
    assert found["standard_error"] == pytest.approx(wanted["standard_error"])
    assert found["interval"] == pytest.approx(wanted["interval"])


def test_a_group_from_one_source_leaves_no_interval():
    found = macro_mean([1.0, 2.0, 3.0, 5.0], ["x", "x", "y", "y"], ["a", "b", "c", "c"])
    assert (found["mean"], found["standard_error"], found["interval"]) == (2.75, None, None)
    assert macro_mean([], [], [])["mean"] is None
    outcomes = [{"score": 1.0 + n, "category": "xxy"[n], "source": f"{n}"} for n in range(3)]
    assert macro(outcomes)["of_one_source"] == ["y"]
    assert why_no_interval(macro(outcomes)) == " (no interval: 1 of 2 categories from a single source image each)"
    assert why_no_interval(macro(outcomes[:2])) == ""


@pytest.mark.parametrize(
    ("groups", "clusters"),
    [
        (np.repeat(range(5), 2), np.arange(10)),
        (np.repeat(range(5), 5), np.arange(25)),
        (np.repeat(range(5), (2, 2, 2, 2, 40)), np.arange(48)),
        (np.tile(range(5), 3), np.repeat(range(3), 5)),
        (np.tile([0, 1, 1, 2, 3, 4, 4, 0], 3), np.repeat(range(12), 2)),
    ],
    ids=["two sources each", "five each", "two and forty", "three in all categories", "twelve in two"],
)
def test_macro_intervals_cover_the_truth_with_few_sources_per_category(groups, clusters):
    """1,500 benchmarks of known mean, correlation 0.4 within a source."""
    rng = np.random.default_rng(20241102)
    names, sources, covered = groups.tolist(), clusters.tolist(), 0
    for _ in range(1500):
        shared = rng.normal(0, math.sqrt(0.4), clusters.max() + 1)[clusters]
        scores = 5 + groups + shared + rng.normal(0, math.sqrt(0.6), groups.size)
        low, high = macro_mean(scores.tolist(), names, sources, (-99, 99))["interval"]
        covered += low <= 7 <= high
    assert 0.93 <= covered / 1500 <= 0.97


def test_intervals_cover_the_truth_where_sources_are_shared_and_naive_ones_do_not():
    """200 sources x 3 edits, correlation 0.4 within a source: 2,000 benchmarks of known mean."""
    rng = np.random.default_rng(20241101)
    sources = np.repeat(np.arange(200), 3).tolist()
    covered = naive = 0
    for _ in range(2000):
        shared, own = rng.normal(0, math.sqrt(0.4), 200), rng.normal(0, math.sqrt(0.6), 600)
        scores = (np.repeat(shared, 3) + own).tolist()
        low, high = clustered_mean(scores, sources)["interval"]
        covered += low <= 0 <= high
        low, high = clustered_mean(scores, range(600))["interval"]
        naive += low <= 0 <= high
    assert 0.93 <= covered / 2000 <= 0.97
    assert naive / 2000 < 0.93


def test_a_bootstrap_resamples_whole_clusters():
    rng = np.random.default_rng(3)
    scores = (np.repeat(rng.normal(5, 1, 100), 3) + rng.normal(0, 0.1, 300)).tolist()
    clusters = np.repeat(np.arange(100), 3).tolist()
    low, high = bootstrap_interval(scores, clusters)
    assert [low, high] == pytest.approx(clustered_mean(scores, clusters)["interval"], abs=0.03)
    assert bootstrap_interval(scores, clusters) == [low, high]  # seeded
    assert bootstrap_interval([1.0, 3.0], ["a", "b"]) == [1.0, 3.0]


@pytest.mark.parametrize(
    ("count", "of", "interval"),
    [(0, 0, None), (0, 10, (0, 0.27753)), (10, 10, (0.72247, 1)), (15, 148, (0.0624, 0.1605)), (1, 1, (0.2065, 1))],
)
def test_rates_by_wilson(count, of, interval):
    """15 of 148 is an example of Newcombe 1998, Statistics in Medicine 17, table I."""
    found = rate(count, of)
    assert found["rate"] == (count / of if of else None)
    assert found["interval"] == (interval and pytest.approx(interval, abs=1e-4))


def test_what_failures_leave_open():
    assert with_failures([8.0, 6.0], 2) == {"mean_with_failures_as_min": 3.5, "mean_range": [3.5, 8.5]}
    assert with_failures([8.0, 6.0], 0) == {"mean_with_failures_as_min": 7.0, "mean_range": [7.0, 7.0]}
    assert with_failures([], 3) == {"mean_with_failures_as_min": 0.0, "mean_range": [0.0, 10.0]}
    assert with_failures([], 0) == {"mean_with_failures_as_min": None, "mean_range": None}


def test_bins_hold_their_lower_edge_and_the_last_one_both():
    assert histogram([0.0, 0.99, 1.0, 9.0, 10.0])["histogram"]["counts"] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert histogram([])["histogram"]["counts"] == [0] * 10


@pytest.mark.parametrize(
    ("scores", "piled"),
    [
        ([7.0] * 4, None),
        ([7.0] * 5, (7.0, 1.0)),
        ([7.0] * 3 + [1.0] * 3, None),
        ([7.001] * 4 + [1, 2, 3], (7.0, 4 / 7)),
    ],
)
def test_more_than_half_of_the_scores_on_one_value(scores, piled):
    found = histogram(scores)["piled_up"]
    assert found == (piled and {"value": piled[0], "share": pytest.approx(piled[1])})


@given(st.lists(st.floats(0, 10), min_size=2, max_size=50))
def test_summary_agrees_with_the_standard_library(scores):
    summary = summarize(scores)
    assert summary["mean"] == pytest.approx(statistics.fmean(scores))
    assert summary["std"] == pytest.approx(statistics.stdev(scores), abs=1e-9)
    assert summary["median"] == pytest.approx(statistics.median(scores))
    assert (summary["min"], summary["max"], summary["n"]) == (min(scores), max(scores), len(scores))


def test_a_summary_is_plain_python_for_json():
    summary = summarize([1.5, 2.5])
    assert {type(value) for value in summary.values()} == {float, int, list}
    assert {type(value) for value in summary["interval"]} == {float}


@pytest.mark.parametrize(
    ("means", "best", "worst"),
    [
        ({}, None, None),
        ({"a": 5.0}, None, None),
        ({"a": 5.0, "b": None}, None, None),
        ({"a": None, "b": None}, None, None),
        ({"a": 5.0, "b": 6.0}, "b", "a"),
        ({"a": 0.0, "b": 6.0}, "b", "a"),
        ({"a": 5.0, "b": None, "c": 4.0}, "a", "c"),
        ({"a": 5.0, "b": 7.0, "c": 7.0, "d": 5.0}, "b", "a"),
    ],
)
def test_best_and_worst_category_are_the_first_of_equals(means, best, worst):
    assert extreme_categories(means) == (best, worst)


def test_statistics_need_no_torch():
    code = "import sys, editbench.analysis.statistics, editbench.run.records; print('torch' in sys.modules)"
    assert run_python(["-c", code], CHECKOUT).output == "False\n"
