"""Agreement of a judge with raters: on what it rests, what is left out, and that nothing is filled in."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from editbench.analysis.agreement import RatedItems, measure_agreement

NAN = math.nan
FIGURES = ["spearman", "accuracy"]


def rated(judge, raters, model=None, cluster=None):
    n = len(judge)
    return RatedItems(
        np.array(judge, dtype=float),
        np.array(raters, dtype=float).reshape(n, -1),
        model or [""] * n,
        np.arange(n) if cluster is None else np.array(cluster),
    )


def agreement(items, resamples=50):
    found = measure_agreement(items, FIGURES, resamples, seed=1)
    json.dumps(found, allow_nan=False)
    return found


def test_items_without_a_score_or_a_rating_are_counted_and_in_no_figure():
    judge = [1, 2, 3, 4, NAN, 9, NAN]
    raters = [[1, NAN], [2, 2], [2, 4], [NAN, 4], [9, 9], [NAN, NAN], [NAN, NAN]]
    found = agreement(rated(judge, raters))
    assert found["counts"] == {
        "compared": 4,
        "clusters": 4,
        "judged_but_not_rated": 1,
        "rated_but_without_score": 1,
        "neither": 1,
        "ratings": 6,
        "ratings_per_item": {"1": 2, "2": 2},
    }
    assert found["pooled"]["judge_with_mean"]["spearman"]["value"] == pytest.approx(1.0)
    both = found["pooled"]["rater_with_rater"]["spearman"]
    assert both["value"] is None and both["reason"] == "fewer than 3 items have both scores"


def test_pairs_of_raters_and_models_are_averaged_by_fisher():
    rng = np.random.default_rng(0)
    raters = rng.integers(0, 5, (60, 3))
    judge = raters.mean(axis=1) + rng.normal(size=60)
    model = ["a"] * 30 + ["b"] * 30
    found = agreement(rated(judge, raters, model))
    z = {}
    for name, rows in {"a": slice(0, 30), "b": slice(30, 60), "all": slice(0, 60)}.items():
        pairs = [stats.spearmanr(raters[rows, i], raters[rows, j])[0] for i, j in ((0, 1), (0, 2), (1, 2))]
        z[name] = np.arctanh(pairs).mean()
    value = {name: section["rater_with_rater"]["spearman"]["value"] for name, section in found["models"].items()}
    assert value == pytest.approx({"a": np.tanh(z["a"]), "b": np.tanh(z["b"])})
    assert found["pooled"]["rater_with_rater"]["spearman"]["value"] == pytest.approx(np.tanh(z["all"]))
    mean = found["mean"]["rater_with_rater"]["spearman"]
    assert mean["value"] == pytest.approx(np.tanh((z["a"] + z["b"]) / 2))
    assert mean["interval"][0] < mean["value"] < mean["interval"][1]
    assert found["models"]["a"]["items"] == 30


def test_a_model_with_constant_scores_has_null_with_a_reason_and_is_left_out_of_the_mean():
    judge = [1, 2, 3, 4, 7, 7, 7, 7]
    raters = [[1], [3], [2], [4], [1], [2], [3], [4]]
    found = agreement(rated(judge, raters, ["a"] * 4 + ["b"] * 4))
    constant = found["models"]["b"]["judge_with_mean"]["spearman"]
    assert constant["value"] is None and constant["interval"] is None
    assert constant["reason"] == "the scores of one side are all equal"
    mean = found["mean"]["judge_with_mean"]["spearman"]
    assert (mean["value"], mean["averaged"], mean["left_out"]) == (pytest.approx(0.8), 1, 1)
    alone = found["pooled"]["rater_with_rater"]
    assert alone["spearman"]["reason"] == "fewer than two raters" and alone["alpha"]["value"] is None


def test_the_interval_follows_from_the_clusters_and_the_seed():
    rng = np.random.default_rng(2)
    base = rng.normal(size=20)
    judge, raters = np.repeat(base, 5), np.repeat(base + rng.normal(size=20), 5)
    items = [rated(judge, raters, cluster=cluster) for cluster in (np.arange(100), np.arange(100) // 5)]
    single, clustered = (agreement(i, 2000)["pooled"]["judge_with_mean"]["spearman"] for i in items)
    assert single["value"] == clustered["value"]
    width = [found["interval"][1] - found["interval"][0] for found in (single, clustered)]
    assert width[1] > 1.7 * width[0], "five copies of an item tell no more than one: about sqrt(5) in width"
    assert agreement(items[1], 2000)["pooled"]["judge_with_mean"]["spearman"] == clustered
    one = agreement(rated([1, 2, 3], [1, 2, 3], cluster=[0, 0, 0]))["pooled"]["judge_with_mean"]["spearman"]
    assert one["value"] == pytest.approx(1.0) and one["interval"] is None


def test_raters_means_that_are_equal_are_ties_whatever_the_order_of_their_sum():
    raters = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.3, 0.1], [5, 5, 5]]
    assert len({sum(row) / 3 for row in raters[:3]}) == 2, "as floats they differ"
    found = agreement(rated([1, 1, 1, 2], raters))
    assert found["pooled"]["judge_with_mean"]["accuracy"]["value"] == 1.0
