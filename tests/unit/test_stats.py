"""Statistics against values worked out by hand."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import CHECKOUT, run_python

from editbench.analysis.statistics import extreme_categories, summarize

NOTHING = {"mean": None, "std": None, "median": None, "min": None, "max": None, "n": 0}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], NOTHING),
        ([7.25], {"mean": 7.25, "std": None, "median": 7.25, "min": 7.25, "max": 7.25, "n": 1}),
        ([0.0], {"mean": 0.0, "std": None, "median": 0.0, "min": 0.0, "max": 0.0, "n": 1}),
        ([1, 3], {"mean": 2.0, "std": math.sqrt(2), "median": 2.0, "min": 1.0, "max": 3.0, "n": 2}),
        ([2, 4, 9], {"mean": 5.0, "std": math.sqrt(13), "median": 4.0, "min": 2.0, "max": 9.0, "n": 3}),
        ([9, 1, 5, 3], {"mean": 4.5, "std": math.sqrt(35 / 3), "median": 4.0, "min": 1.0, "max": 9.0, "n": 4}),
        ([6, 6, 6], {"mean": 6.0, "std": 0.0, "median": 6.0, "min": 6.0, "max": 6.0, "n": 3}),
        ([0, 10], {"mean": 5.0, "std": math.sqrt(50), "median": 5.0, "min": 0.0, "max": 10.0, "n": 2}),
    ],
)
def test_summary(scores, expected):
    summary = summarize(scores)
    assert list(summary) == list(expected)
    assert summary == pytest.approx(expected)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=50))
def test_summary_agrees_with_the_standard_library(scores):
    summary = summarize(scores)
    assert summary["mean"] == pytest.approx(statistics.fmean(scores))
    assert summary["std"] == pytest.approx(statistics.stdev(scores), abs=1e-9)
    assert summary["median"] == pytest.approx(statistics.median(scores))
    assert (summary["min"], summary["max"], summary["n"]) == (min(scores), max(scores), len(scores))


def test_a_summary_is_plain_python_for_json():
    assert {type(value) for value in summarize([1.5, 2.5]).values()} == {float, int}


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
