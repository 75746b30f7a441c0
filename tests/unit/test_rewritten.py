"""Instructions that the dataset has rewritten: the editor is given them, judge and report have the original."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_file import make_picture, make_record, png_bytes
from made_run import JUDGE, make_run, write_folder
from PIL import Image

from editbench.components.load import open_dataset
from editbench.config import load as configuration
from editbench.config.schema import Config, SourceConfig
from editbench.datasets.base import BadRecord
from editbench.datasets.folder import Folder
from editbench.datasets.sources import Sources
from editbench.editors.one_sample import edit_one
from editbench.errors import UserError
from editbench.judges.prompts import by_rubric, prompts
from editbench.plan import ensure_plan
from editbench.report import build_report, write_report
from editbench.run.folder import RunDir
from editbench.run.identity import sample_input
from editbench.run.records import EditTask, Sample, to_dict
from editbench.todo import find_edit_tasks

WORDS = "Warm the light of the whole picture"


def load(folder: Path, second: Any) -> Config:
    """A benchmark of two records, the second with what is given as its rewritten instruction."""
    records = [make_record(number, "物理", f"s{number}") for number in range(2)]
    records[1]["rewritten_instruction"] = second
    (folder / "bench.json").write_text(json.dumps(records), encoding="utf-8")
    places = [f"dataset.path={folder / 'bench.json'}", f"run_dir={folder / 'run'}"]
    return configuration.load([*places, "dataset=json_file", "editor=fake", "judge=fake"])


def samples(folder: Path, second: Any) -> list[Sample]:
    config = load(folder, second)
    return ensure_plan(config, RunDir(config.run_dir)).samples


class Listening:
    """An editor that remembers what it was told."""

    def edit(self, source: Image.Image, instruction: str, seed: int, on_step: Any) -> Image.Image:
        self.told = instruction
        return make_picture(9, source.size)


def test_the_editor_is_given_it_and_the_judge_the_original(tmp_path: Path) -> None:
    plain, sample = samples(tmp_path, WORDS)
    assert (plain.rewritten, sample.rewritten, sample.instruction) == (None, WORDS, "Change picture 1.")
    editor, config = Listening(), load(tmp_path, WORDS)
    read = Sources(config.dataset, SourceConfig()).take(sample, then=None)
    record, image = edit_one(editor, EditTask(sample, 0, "u"), read, lambda _done, _total: None)
    assert (record.state, editor.told) == ("edited", WORDS) and image is not None
    _, user = prompts(by_rubric(config.rubrics["physical"], False), sample)
    assert "Change picture 1." in user and WORDS not in user


def test_it_decides_the_edit_and_a_sample_without_one_is_as_before(tmp_path: Path) -> None:
    config = load(tmp_path, WORDS)

    def units(second: Any) -> list[str]:
        run = RunDir(tmp_path / "run")
        plan = ensure_plan(load(tmp_path, second), run)
        return [task.unit for task in find_edit_tasks(config, run, plan, None).tasks]

    none, empty, one, other = units(None), units(""), units(WORDS), units("Cool it")
    assert none == empty and len({none[1], one[1], other[1]}) == 3
    assert none[0] == one[0] == other[0]
    plain, sample = samples(tmp_path, WORDS)
    assert "rewritten" not in to_dict(plain) and Sample(**to_dict(sample)) == sample
    as_its_own = Sample(**to_dict(sample) | {"rewritten": None, "instruction": WORDS})
    assert sample_input(sample) == sample_input(as_its_own), "who wrote the words decides nothing"


@pytest.mark.parametrize("value", [5, ["x"]])
def test_one_that_is_no_text_is_a_bad_record(tmp_path: Path, value: Any) -> None:
    _, found = open_dataset(load(tmp_path, value).dataset).scan()
    assert isinstance(found, BadRecord) and "rewritten_instruction is a" in found.problem


def test_a_table_names_its_field_and_turns_in_one_row_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes(make_picture(1)))
    rows = [{"image": "a.png", "instruction": "x", "better": better} for better in ("y", None, float("nan"))]
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    found = list(Folder(str(tmp_path), fields={"rewritten": "better"}).scan())
    assert [record.rewritten for record in found if not isinstance(record, BadRecord)] == ["y", None, None]
    with pytest.raises(UserError, match=r"dataset\.fields\.rewritten: no turn"):
        Folder(str(tmp_path), fields={"instruction": ["a", "b"], "rewritten": "better"})


def test_the_report_has_both_and_says_how_many(tmp_path: Path) -> None:
    rows = [{"instruction": "Change it", "rewritten": rewritten} for rewritten in (None, WORDS)]
    write_folder(tmp_path / "photos", rows)
    overrides = [f"dataset.path={tmp_path / 'photos'}", "dataset=folder", "+dataset.fields.rewritten=rewritten"]
    run = make_run(tmp_path / "run", overrides, [5.0, 7.0])
    made = build_report(run, JUDGE)
    write_report(run, made)
    one, other = made["samples"]
    assert "rewritten_instruction" not in one
    assert (other["instruction"], other["rewritten_instruction"]) == ("Change it", WORDS)
    said = "editor: 1 of 2 instructions were rewritten by the dataset before the edit; the judge has the original"
    assert said in made["notes"]
    assert WORDS in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
