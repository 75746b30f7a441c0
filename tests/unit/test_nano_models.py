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


def test_the_models_are_small():
    files = list(MODELS.rglob("*.safetensors"))
    assert {file.relative_to(MODELS).parts[0] for file in files} == {"editor", "judge", "stages"}
    assert sum(file.stat().st_size for file in files) < 25e6


def test_most_of_six_edits_are_right():
    outcomes = edited(1)
    assert mean(one.truth["cells_right"] for one in outcomes) >= 0.9
    assert mean(one.truth["score"] for one in outcomes) >= 8.5
    assert all(one.edited.size == (1024, 1024) for one in outcomes)


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
    assert mean(one.truth["strict"] for one in outcomes) >= 0.88
    assert mean(one.truth["cells_right"] for one in outcomes) >= 0.95
    for family in FAMILIES:
        assert mean(one.truth["score"] for one in outcomes if FAMILIES[one.edit.family] == family) >= 9


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["expected", "generate"])
def test_the_judge_ranks_as_the_truth_does_and_tells_controls_apart(mode):
    outcomes = edited(10)
    edits = [one.edit for one in outcomes]
    flawed = report.synthetic(outcomes)
    for stage in ("early", "middle"):
        flawed += report.edits_of_stage(MODELS, stage, edits)
    controls = evaluation.controls(edits, outcomes)
    scores = evaluation.judge_all(MODELS / "judge", [*outcomes, *flawed, *controls], mode)
    assert None not in scores
    judged, of_flawed, of_controls = scores[:60], scores[60:240], scores[240:]
    true = [float(one.truth["score"]) for one in [*outcomes, *flawed]]
    assert judge_against_truth([*judged, *of_flawed], true)["spearman"] >= 0.9
    for kind in ("unchanged", "black", "noise", "other"):
        own = [score for score, one in zip(of_controls, controls, strict=True) if one.kind == kind]
        assert mean(judged) > mean(own) + 4


@pytest.mark.parametrize("mode", ["expected", "generate"])
def test_the_judge_tells_right_edits_from_unchanged_pictures_noise_and_others(mode):
    outcomes = edited(1)
    controls = evaluation.controls([one.edit for one in outcomes], outcomes)
    scores = evaluation.judge_all(MODELS / "judge", [*outcomes, *controls], mode)
    assert None not in scores
    assert mean(scores[:6]) > mean(scores[6:]) + 4
