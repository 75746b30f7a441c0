"""`load_run` for a notebook: rows that agree with the records, pictures that are the run's."""

import subprocess
import sys

import numpy as np
import pytest
from benchmark_file import make_picture
from made_run import JUDGE, make_run, write_folder
from PIL import Image

from editbench import load_run
from editbench.errors import UserError
from editbench.run.lines import JsonLines
from editbench.run.records import Edit

ROWS = [
    {"id": "cat", "category": "physical", "difficulty": "hard"},
    {"id": "dog", "category": "social"},
    {"id": "../../hen", "category": "physical"},
    {"id": "cow", "category": "physical"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("loaded")
    write_folder(root / "photos", ROWS)
    dataset = ["dataset=folder", f"dataset.path={root / 'photos'}", "rubric=seed"]
    make_run(root / "run", dataset, [8.5, "unparsed", "edit_failed", "pending"])
    return root / "run"


@pytest.fixture
def run(folder):
    return load_run(folder)


def test_plan_edits_and_judgments_are_rows_in_the_plans_order(run):
    assert (run.name, run.judge) == ("run", JUDGE)
    assert [row["sample_id"] for row in run.plan] == ["cat", "dog", "../../hen", "cow"]
    assert [(row["sample_id"], row["state"]) for row in run.edits] == [
        *(("cat", "edited"), ("dog", "edited"), ("../../hen", "edit_failed"))
    ]
    assert [(row["sample_id"], row["score"]) for row in run.judgments] == [("cat", 8.5), ("dog", None)]


def test_a_row_has_all_that_is_known_of_its_sample(run):
    cat, dog, hen, cow = run.samples
    assert [row["state"] for row in run.samples] == ["scored", "unparsed", "edit_failed", "pending"]
    assert (cat["score"], cat["judge_reply"], cat["edit_latency_s"], cat["edit_width"]) == (8.5, "Score: 8.5", 1.5, 40)
    assert cat["extra_difficulty"] == "hard" and cat["judge"] == JUDGE
    assert (dog["score"], dog["judge_reply"]) == (None, "hm")
    assert (hen["error_type"], hen["error"], hen["edit_sha256"]) == ("ValueError", "no picture came back", None)
    assert cow["edit_unit"] is cow["judge_unit"] is None


def test_pictures_are_those_of_the_run(run):
    source = np.asarray(make_picture(0))
    assert np.array_equal(run.source("cat"), source)
    assert np.array_equal(run.edited("cat"), source[::-1])
    assert np.array_equal(run.side_by_side("cat"), np.hstack([source, source[::-1]]))


def test_all_sources_stand_before_the_edit_in_order_and_at_its_height(tmp_path):
    write_folder(tmp_path / "photos", [{"id": "both", "category": "physical", "file_name": ["0.png", "tall.png"]}])
    tall = make_picture(5, (20, 60))
    tall.save(tmp_path / "photos" / "tall.png")
    make_run(tmp_path / "run", ["dataset=folder", f"dataset.path={tmp_path / 'photos'}", "rubric=seed"], [8.5])
    shown = np.asarray(load_run(tmp_path / "run").side_by_side("both"))
    assert shown.shape == (30, 40 + 10 + 40, 3)
    assert np.array_equal(shown[:, :40], np.asarray(make_picture(0)))
    assert np.array_equal(shown[:, 40:50], np.asarray(tall.resize((10, 30), Image.Resampling.LANCZOS)))
    assert np.array_equal(shown[:, 50:], np.asarray(make_picture(0))[::-1])


def test_a_sample_without_a_picture_has_none(run):
    for sample_id in ("../../hen", "cow"):
        with pytest.raises(ValueError, match="has no edited image"):
            run.edited(sample_id)
    with pytest.raises(UserError, match="has no sample 'cats'"):
        run.edited("cats")


def test_an_edit_of_another_instruction_does_not_count(tmp_path):
    write_folder(tmp_path / "photos", ROWS[:1])
    dataset = ["dataset=folder", f"dataset.path={tmp_path / 'photos'}", "rubric=seed"]
    run_dir = make_run(tmp_path / "run", dataset, [3.0])
    edit = run_dir.read_edits()["cat"]
    edit.input = "of another instruction"
    lines = JsonLines(run_dir.edits_index)
    lines.append(edit)
    lines.close()
    loaded = load_run(tmp_path / "run")
    assert loaded.samples[0]["score"] is loaded.samples[0]["edit_sha256"] is None
    with pytest.raises(ValueError, match="has no edited image"):
        loaded.edited("cat")
    assert isinstance(edit, Edit) and len(loaded.edits) == 1


def test_a_run_that_nobody_has_judged_is_loaded_and_a_missing_one_is_not(tmp_path):
    write_folder(tmp_path / "photos", ROWS[:1])
    make_run(tmp_path / "run", ["dataset=folder", f"dataset.path={tmp_path / 'photos'}", "rubric=seed"], ["edited"])
    loaded = load_run(str(tmp_path / "run"))
    assert loaded.judge is None and loaded.judgments == [] and loaded.samples[0]["state"] == "edited"
    with pytest.raises(UserError, match="there is no run"):
        load_run(tmp_path / "other")


def test_editbench_is_imported_in_a_moment_and_loads_no_torch():
    code = (
        "import sys, editbench; assert not {'numpy', 'PIL', 'omegaconf'} & set(sys.modules); "
        "from editbench import load_run; assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
