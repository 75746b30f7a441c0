"""The true score of an edit whose wanted picture is known, and how a judge agrees with it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from editbench.analysis.agreement_with_truth import judge_against_truth
from editbench.analysis.known_truth import KnownTruth
from editbench.analysis.truth import Truth, score_pixels, true_score
from editbench.errors import UserError
from editbench.run.records import Sample


def picture(colours, size=64):
    """A grid of one colour a cell."""
    image = Image.new("RGB", (len(colours[0]), len(colours)))
    image.putdata([colour for row in colours for colour in row])
    return image.resize((size, size), Image.Resampling.NEAREST)


CHECKOUT = Path(__file__).parents[2]
RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (128, 128, 128)
SOURCE = picture([[RED, GREY], [GREY, GREY]])
TARGET = picture([[BLUE, GREY], [GREY, GREY]])
TRUTH = Truth(TARGET, cells=2)


def test_the_wanted_picture_has_full_marks_at_any_size():
    for size in (64, 128, 1024):
        edited = picture([[BLUE, GREY], [GREY, GREY]], size)
        assert true_score(SOURCE, edited, TRUTH) == {"score": 10.0, "strict": True, "cells_right": 1.0}


def test_the_unchanged_source_has_nothing():
    assert true_score(SOURCE, SOURCE, TRUTH) == {"score": 0.0, "strict": False, "cells_right": 0.75}


def test_half_of_the_way_is_half_of_the_score():
    # From red to blue the error is sqrt(2 / 3); halfway it is 128 / 255 of it; 0.03 is not seen of either.
    before, halfway = math.sqrt(2 / 3), math.sqrt(2 / 3) * 128 / 255
    found = true_score(SOURCE, picture([[(128, 0, 127), GREY], [GREY, GREY]]), TRUTH)
    assert found["score"] == pytest.approx(10 * (1 - (halfway - 0.03) / (before - 0.03)))


def test_what_is_spoilt_elsewhere_divides_the_score():
    # One of three other cells went from grey to grey + 0.09: (0.09 - 0.03) / 3 on the mean, over 0.03.
    edited = picture([[BLUE, (151, 151, 151)], [GREY, GREY]])
    found = true_score(SOURCE, edited, TRUTH)
    assert found["score"] == pytest.approx(10 * math.exp(-(23 / 255 - 0.03) / 3 / 0.03), rel=1e-6)
    assert (found["strict"], found["cells_right"]) == (False, 0.75)


def test_an_error_at_the_bound_is_right_and_one_above_it_is_not():
    right, wrong = (picture([[BLUE, (128 + more,) * 3], [GREY, GREY]]) for more in (13, 14))
    assert true_score(SOURCE, right, TRUTH)["strict"]  # 13 / 255 = 0.0510
    assert not true_score(SOURCE, wrong, TRUTH)["strict"]  # 14 / 255 = 0.0549


def test_controls_have_next_to_nothing():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for edited in (Image.new("RGB", (64, 64)), noise, picture([[GREY, RED], [RED, RED]])):
        assert true_score(SOURCE, edited, TRUTH)["score"] < 0.1


def test_where_every_cell_changes_none_is_left_to_be_spoilt():
    source, target = np.zeros((4, 4, 3)), np.ones((4, 4, 3))
    found = score_pixels(source, np.stack([source, target]), target, cells=2)
    assert found.score.tolist() == [0.0, 10.0]
    assert found.errors.tolist() == [[1.0] * 4, [0.0] * 4]


def sample(name):
    return Sample(0, name, name, "referential", "Make it blue.", "", "", [])


@pytest.fixture
def records(tmp_path):
    TARGET.save(tmp_path / "wanted.png")
    listed = [
        {"original_image_path": "sources/a.png", "reference_image_path": "wanted.png", "target_cells": 2},
        {"original_image_path": "sources/b.png"},
    ]
    path = tmp_path / "records.json"
    path.write_text(json.dumps(listed), encoding="utf-8")
    return path


def test_the_metric_finds_the_wanted_picture_of_a_sample(records):
    metric = KnownTruth(str(records))
    assert metric.measure(sample("a"), SOURCE, TARGET) == {"true_score": 10.0, "true_strict": 1.0, "true_cells": 1.0}
    assert metric.measure(sample("a"), SOURCE, SOURCE) == {"true_score": 0.0, "true_strict": 0.0, "true_cells": 0.75}


def test_a_sample_without_a_wanted_picture_has_the_same_figures_without_values(records):
    metric = KnownTruth(str(records))
    nothing = {"true_score": None, "true_strict": None, "true_cells": None}
    assert metric.measure(sample("b"), SOURCE, TARGET) == nothing
    assert metric.measure(sample("unknown"), SOURCE, TARGET) == nothing


@pytest.mark.parametrize("content", ["{", "[1]", '[{"reference_image_path": "a.png"}]', '{"a": 1}'])
def test_a_file_that_is_no_list_of_records_is_refused(tmp_path, content):
    path = tmp_path / "records.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"metric\.records=.*records\.json: is no JSON list of records"):
        KnownTruth(str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        KnownTruth(str(tmp_path / "none.json"))


def test_a_judge_that_ranks_as_the_truth_does_correlates_fully():
    found = judge_against_truth([1.0, 2.0, 9.0, 10.0], [0.0, 4.0, 5.0, 10.0])
    assert found["spearman"] == pytest.approx(1.0)
    assert found["mean_error"] == pytest.approx((1 - 2 + 4 + 0) / 4)
    assert found["mean_absolute_error"] == pytest.approx((1 + 2 + 4 + 0) / 4)


def test_equal_scores_share_their_rank():
    # Ranks 1.5 1.5 3 4 against 1 2 3 4: their correlation is 4.5 / sqrt(4.5 * 5).
    assert judge_against_truth([5, 5, 6, 7], [1, 2, 3, 4])["spearman"] == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_calibration_by_fifths_of_the_judges_scale():
    rows = judge_against_truth([0.0, 1.0, 2.0, 10.0], [0.5, 1.5, 3.0, 8.0])["calibration"]
    assert rows == [
        {"from": 0.0, "to": 2.0, "n": 2, "judged": 0.5, "true": 1.0},
        {"from": 2.0, "to": 4.0, "n": 1, "judged": 2.0, "true": 3.0},
        {"from": 8.0, "to": 10.0, "n": 1, "judged": 10.0, "true": 8.0},
    ]


@pytest.mark.parametrize(("judged", "true"), [([], []), ([1.0, 2.0], [1.0, 2.0]), ([5.0] * 4, [1.0, 2.0, 3.0, 4.0])])
def test_without_ranks_there_is_no_correlation(judged, true):
    assert judge_against_truth(judged, true)["spearman"] is None


@pytest.mark.parametrize(("judged", "true"), [([1.0], []), ([11.0], [1.0]), ([math.nan], [1.0])])
def test_scores_that_cannot_be_compared_are_refused(judged, true):
    with pytest.raises(ValueError, match="score"):
        judge_against_truth(judged, true)


def test_the_scenes_benchmark_has_a_wanted_picture_for_every_sample():
    folder = CHECKOUT / "data" / "scenes"
    settings = yaml.safe_load((CHECKOUT / "conf" / "metric" / "scene_truth.yaml").read_text(encoding="utf-8"))
    assert settings == {
        "_target_": f"{KnownTruth.__module__}.{KnownTruth.__name__}",
        "records": "${checkout:data/scenes/records.json}",
    }
    metric = KnownTruth(str(folder / "records.json"))
    for record in json.loads((folder / "records.json").read_text(encoding="utf-8")):
        own = sample(Path(record["original_image_path"]).stem)
        paths = [folder / record[f"{name}_image_path"] for name in ("original", "reference")]
        with Image.open(paths[0]) as source, Image.open(paths[1]) as wanted:
            assert metric.measure(own, source, wanted)["true_score"] == 10.0
            assert metric.measure(own, source, source)["true_score"] == 0.0
