"""A metric's figures in the report: worked out by hand, kept apart by sample, and said beside the judge."""

import io
import json
from typing import ClassVar

import pytest
from benchmark_file import make_picture
from PIL import Image
from rich.console import Console
from test_pictures import Run

from editbench.analysis.metrics import summarize_metrics
from editbench.components.check import check_metric
from editbench.config.load import load
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError
from editbench.pictures import VERSION
from editbench.report import build_report
from editbench.views.console import show_report
from editbench.views.html import to_html
from editbench.views.markdown import to_markdown


def outcome(score, metrics, source, category="physical"):
    return {"score": score, "metrics": metrics, "source": source, "category": category}


def test_figures_are_summed_up_and_the_judge_held_against_the_true_score():
    outcomes = [
        outcome(2.0, {"true_score": 1.0, "psnr": 20.0}, "a"),
        outcome(5.0, {"true_score": 6.0, "psnr": None}, "b", "social"),
        outcome(9.0, {"true_score": 8.0, "psnr": 40.0}, "c"),
        outcome(None, {"true_score": 9.0, "psnr": 30.0}, "d"),
        outcome(4.0, None, "e"),
    ]
    found = summarize_metrics(outcomes)
    true = found["figures"]["true_score"]
    assert (true["n"], true["mean"], true["clusters"]) == (4, 6.0, 4)
    assert true["categories"] == {"physical": 6.0, "social": 6.0}
    assert true["spearman"] == 1.0
    assert (found["figures"]["psnr"]["n"], found["figures"]["psnr"]["spearman"]) == (3, None)
    assert (found["judge"]["n"], found["judge"]["mean_absolute_error"]) == (3, 1.0)
    assert summarize_metrics([outcome(4.0, None, "e")]) is None
    assert summarize_metrics([outcome(4.0, {"true_score": None}, "e")]) is None  # data that the metric knows nothing of
    assert summarize_metrics([outcome(4.0, {"psnr": 3.0}, "e")])["judge"] is None


class LengthOfId:
    """Gives what no picture tells."""

    BOUNDS: ClassVar = {"true_score": (0.0, 10.0)}

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def measure(self, sample, source: Image.Image, edited: Image.Image) -> dict[str, float | None]:
        return {"true_score": self._factor * len(sample.sample_id)}


def test_a_metric_is_asked_for_every_sample_and_once_for_each_of_its_arguments(tmp_path):
    run = Run(tmp_path)
    for number in (0, 1):
        run.edit(number, make_picture(9))
    run.config.metric = ComponentConfig("test_metrics.LengthOfId", "i", {"factor": 1.0})
    for factor, wanted, lines in ((1.0, 2.0, 2), (1.0, 2.0, 2), (0.5, 1.0, 4), (1.0, 2.0, 4), (0.5, 1.0, 4)):
        run.config.metric.kwargs["factor"] = factor
        report = build_report(run.dir, "fake", looks=run.look())
        found = [sample["metrics"] for sample in report["samples"]]
        assert found == [{"true_score": wanted}, {"true_score": wanted}, None]
        assert len(run.dir.pictures.read_text().splitlines()) == lines
    assert report["metrics"]["figures"]["true_score"]["mean"] == 1.0
    console = Console(file=io.StringIO(), width=400)
    show_report(console, report, tmp_path)
    printed = console.file.getvalue()
    assert "From the pictures alone: true score 1.000" in printed
    assert "## What the metric says" in to_markdown(report)
    assert "What the metric says" in to_html(json.loads(json.dumps(report)))
    run.config.metric = None
    assert build_report(run.dir, "fake", looks=run.look())["metrics"] is None
    run.edit(0, make_picture(8))
    run.look()
    assert (
        len(run.dir.pictures.read_text().splitlines()) == 4
    )  # both of that edit went; one without, three of the other


def test_no_interval_leaves_the_bounds_of_its_figure(tmp_path):
    run = Run(tmp_path)
    run.config.metric = ComponentConfig("test_metrics.LengthOfId", "i", {"factor": 5.0})
    run.edit(0, make_picture(9))
    looks = run.look()
    assert looks.bounds == {"true_score": (0.0, 10.0)}
    outcomes = [outcome(None, {"true_score": value, "free": value}, str(value)) for value in (0.0, 1.0, 10.0)]
    found = summarize_metrics(outcomes, bounds=looks.bounds)["figures"]
    assert found["true_score"]["interval"] == [0.0, 10.0]
    assert found["free"]["interval"][0] < 0 and found["free"]["interval"][1] > 10


class Failing:
    """Fails on one sample."""

    def measure(self, sample, source: Image.Image, edited: Image.Image) -> dict[str, float | None]:
        if sample.sample_id == "s0":
            raise OSError("no wanted picture")
        return {"psnr": 30.0}


def test_a_metric_that_fails_on_a_sample_leaves_the_others_their_figures(tmp_path):
    run = Run(tmp_path)
    for number in (0, 1):
        run.edit(number, make_picture(9))
    run.config.metric = ComponentConfig("test_metrics.Failing", "f", {})
    looks = run.look()
    assert [run.looks_of(looks, number)["metrics"] for number in (0, 1)] == [None, {"psnr": 30.0}]
    assert looks.notes == ["pixels: nothing is known of 1 of 2 edits, whose metric failed (OSError: no wanted picture)"]
    run.config.metric = None
    run.look()
    run.config.metric = ComponentConfig("test_metrics.Failing", "f", {})
    run.look()
    without = [line for line in run.dir.pictures.read_text().splitlines() if json.loads(line)["version"] == VERSION]
    assert len(without) == 2  # nor does it take from others what they have of that sample


@pytest.mark.parametrize(
    ("target", "kwargs", "words"),
    [
        ("editbench.none.Such", {}, "metric._target_=editbench.none.Such: there is no such class"),
        ("editbench.analysis.known_truth.KnownTruth", {}, "missing a required argument: 'records'"),
        ("pathlib.Path", {}, "has no method 'measure'"),
    ],
)
def test_what_is_no_metric_is_said(target, kwargs, words):
    with pytest.raises(UserError, match="metric") as raised:
        check_metric(ComponentConfig(target, "x", kwargs))
    assert words in str(raised.value)


def test_the_scenes_bring_their_truth():
    assert load(["dataset=scenes"]).metric.target == "editbench.analysis.known_truth.KnownTruth"
    assert load(["dataset=json_file"]).metric is None
