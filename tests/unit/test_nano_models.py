"""The shipped nano editor and judge, through the tool's own classes, on held-out scenes: bounds, not equalities."""

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from nano import evaluation, report
from nano.scenes import FAMILIES

from editbench.analysis.agreement_with_truth import judge_against_truth

CHECKOUT = Path(__file__).parents[2]
MODELS = CHECKOUT / "models" / "nano"
SEED = 91_000  # other scenes than those of the model card


@functools.cache
def edited(each):
    return evaluation.edit_all(MODELS / "editor", evaluation.fixed_set(each, SEED), "final")


def mean(values):
    return float(np.mean([float(value) for value in values]))


def test_both_models_together_are_small():
    files = [file for part in ("editor", "judge") for file in (MODELS / part).rglob("*.safetensors")]
    assert len(files) == 4
    assert sum(file.stat().st_size for file in files) < 25e6


def test_most_of_six_edits_are_right_and_the_judge_says_so():
    outcomes = edited(1)
    assert mean(one.truth["strict"] for one in outcomes) >= 0.66
    assert all(one.edited.size == (1024, 1024) for one in outcomes)
    controls = [
        one for one in evaluation.controls([o.edit for o in outcomes], outcomes) if one.kind in ("black", "noise")
    ]
    for mode in ("expected", "generate"):
        scores = evaluation.judge_all(MODELS / "judge", [*outcomes, *controls], mode)
        assert None not in scores
        assert mean(scores[:6]) > mean(scores[6:]) + 4


def test_the_scenes_benchmark_is_what_the_generator_writes(tmp_path):
    from nano import dataset

    dataset.write(tmp_path)
    shipped = CHECKOUT / "data" / "scenes"
    assert (tmp_path / "records.json").read_bytes() == (shipped / "records.json").read_bytes()
    for path in sorted(tmp_path.rglob("*.png")):
        with Image.open(path) as made, Image.open(shipped / path.relative_to(tmp_path)) as kept:
            assert (np.asarray(made) == np.asarray(kept)).all()


@pytest.mark.slow
def test_sixty_edits_on_combinations_that_training_never_saw():
    outcomes = edited(10)
    assert mean(one.truth["strict"] for one in outcomes) >= 0.8
    for family in FAMILIES:
        assert mean(one.truth["strict"] for one in outcomes if FAMILIES[one.edit.family] == family) >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["expected", "generate"])
def test_the_judge_ranks_as_the_truth_does_and_tells_controls_apart(mode):
    outcomes = edited(10)
    flawed = report.synthetic(outcomes)
    controls = evaluation.controls([one.edit for one in outcomes], outcomes)
    scores = evaluation.judge_all(MODELS / "judge", [*outcomes, *flawed, *controls], mode)
    assert None not in scores
    judged, of_flawed, of_controls = scores[:60], scores[60:120], scores[120:]
    true = [float(one.truth["score"]) for one in [*outcomes, *flawed]]
    assert judge_against_truth([*judged, *of_flawed], true)["spearman"] >= 0.85
    for kind in ("unchanged", "black", "noise", "other"):
        own = [score for score, one in zip(of_controls, controls, strict=True) if one.kind == kind]
        assert mean(judged) > mean(own) + 4
