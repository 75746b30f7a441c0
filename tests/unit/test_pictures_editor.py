"""Pictures that are there already: found by the sample's id, counted by their content."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from benchmark_file import make_picture, write_benchmark

from editbench.components.check import check_components
from editbench.config.load import load
from editbench.config.schema import Config
from editbench.editors.one_sample import edit_one
from editbench.editors.pictures import PicturesEditor, find_picture
from editbench.errors import UserError
from editbench.plan import ensure_plan
from editbench.run.folder import RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, EditTask, Sample, State
from editbench.todo import find_edit_tasks
from editbench.verify import verify

SAMPLE = Sample(0, "add/en/0a1b", "add_en_0a1b-12", "add", "add a cat", "", "0" * 64, [0, 1])


def no_step(_done: int, _total: int) -> None:
    pass


def put(path: Path, number: int, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_picture(number, size).save(path)
    return path


@pytest.mark.parametrize(
    ("pattern", "file"),
    [
        ("{sample_id}", "add/en/0a1b.png"),
        ("{sample_id}", "add/en/0a1b.webp"),
        ("{sample_id}.jpg", "add/en/0a1b.jpg"),
        ("fullset/{sample_id}.png", "fullset/add/en/0a1b.png"),
        ("images/{category}/{key}", "images/add/add_en_0a1b-12.jpeg"),
        ("{key}_edited.JPG", "add_en_0a1b-12_edited.JPG"),
    ],
)
def test_a_picture_is_found_by_its_samples_id(tmp_path: Path, pattern: str, file: str) -> None:
    put(tmp_path / "add/en/0a1b_SRCIMG.png", 9)
    put(tmp_path / file, 1)
    assert find_picture(tmp_path, pattern, SAMPLE) == tmp_path / file
    assert PicturesEditor("cpu", str(tmp_path), pattern).picture_of(SAMPLE).size == (40, 30)


def test_an_id_with_a_dot_keeps_all_of_it(tmp_path: Path) -> None:
    put(tmp_path / "v1.5.png", 1)
    put(tmp_path / "v1.png", 2)
    assert find_picture(tmp_path, "{sample_id}", dataclasses.replace(SAMPLE, sample_id="v1.5")).name == "v1.5.png"


@pytest.mark.parametrize("sample_id", ["../secret", "a/../../secret", "/etc/secret", "..", "a\0b"])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, sample_id: str) -> None:
    put(tmp_path / "secret.png", 1)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match=r"leads out of editor\.folder"):
        find_picture(tmp_path / "pictures", "{sample_id}", dataclasses.replace(SAMPLE, sample_id=sample_id))


def test_a_picture_that_is_missing_broken_or_there_twice_fails_its_sample_alone_with_its_path(tmp_path: Path) -> None:
    editor = PicturesEditor("cpu", str(tmp_path))
    task = EditTask(SAMPLE, 7, "unit")

    def error() -> str:
        edit, image = edit_one(editor, task, lambda: [make_picture(1)], no_step)
        assert (edit.state, image) == ("edit_failed", None)
        return str(edit.error)

    assert f"there is no picture {tmp_path / 'add/en/0a1b'} with .png, .jpg" in error()
    path = put(tmp_path / "add/en/0a1b.png", 1)
    path.write_bytes(path.read_bytes()[:100])
    assert "are no readable image" in error()
    put(tmp_path / "add/en/0a1b.jpg", 1)
    assert f"there are {path} and 0a1b.jpg: remove one" in error()


def test_the_picture_as_it_is_becomes_the_edited_image(tmp_path: Path) -> None:
    put(tmp_path / "add/en/0a1b.png", 3, (64, 48))
    editor = PicturesEditor("cpu", str(tmp_path))
    edit, image = edit_one(editor, EditTask(SAMPLE, 7, "unit"), lambda: [make_picture(1)], no_step)
    assert (edit.state, edit.width, edit.height, edit.source_width) == ("edited", 64, 48, 40)
    assert image is not None and image.tobytes() == make_picture(3, (64, 48)).tobytes()
    assert "made elsewhere" in editor.describe()["note"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["editor.folder=nowhere"], "editor.folder=nowhere: there is no such folder"),
        (["'editor.pattern=\"{id}.png\"'"], "editor.pattern='{id}.png': must hold {sample_id} or {key}"),
        (["editor.pattern=x"], "editor.pattern='x': must hold {sample_id} or {key}"),
        (["'editor.pattern=\"{sample_id}{}\"'"], "editor.pattern='{sample_id}{}'"),
    ],
)
def test_folder_and_pattern_are_checked(tmp_path: Path, overrides: list[str], said: str) -> None:
    given = ["editor=pictures", f"editor.folder={tmp_path}", "judge=fake", "dataset.path=x"]
    with pytest.raises(UserError) as caught:
        check_components(load([*given, *(override.strip("'") for override in overrides)]))
    assert said in str(caught.value)


class Run:
    """A run of three samples whose pictures are in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_benchmark(folder / "bench.json", ["physical", "social", "causal"])
        self.run_dir = RunDir(folder / "run")
        self.run_dir.create()
        self.plan = ensure_plan(self.config("pictures"), self.run_dir)
        for number, sample in enumerate(self.plan.samples[:2]):
            put(folder / f"pictures/{sample.sample_id}.png", number)

    def config(self, pictures: str, *overrides: str) -> Config:
        where = [f"dataset.path={self.folder / 'bench.json'}", f"run_dir={self.folder / 'run'}"]
        return load(["editor=pictures", f"editor.folder={self.folder / pictures}", "judge=fake", *where, *overrides])

    def find(self, pictures: str = "pictures", *overrides: str) -> list[EditTask]:
        return find_edit_tasks(self.config(pictures, *overrides), self.run_dir, self.plan, None).tasks

    def record(self, tasks: list[EditTask], state: State = "edit_failed") -> None:
        index = JsonLines(self.run_dir.edits_index)
        for task in tasks:
            sample = task.sample
            given = (sample.sample_id, sample.category, state, task.unit, sample_input(sample), task.seed)
            index.append(Edit(*given))
        index.close()
        self.run_dir.write_config(self.config("pictures").resolved)


def test_a_result_counts_by_its_pictures_content_and_by_nothing_else_of_the_folder(tmp_path: Path) -> None:
    run = Run(tmp_path)
    tasks = run.find()
    assert len(tasks) == 3 and len({task.unit for task in tasks}) == 3
    run.record(tasks)
    shutil.copytree(tmp_path / "pictures", tmp_path / "moved")
    put(tmp_path / "moved/unasked.png", 8)
    assert run.find() == run.find("moved") == []

    put(tmp_path / f"moved/{tasks[0].sample.sample_id}.png", 5)  # another picture of the same name
    put(tmp_path / f"moved/{tasks[2].sample.sample_id}.png", 6)  # one that was missing
    with pytest.raises(UserError, match="2 edits of this run were made with other settings"):
        run.find("moved")
    anew = run.find("moved", "on_change=redo")
    assert [task.sample.index for task in anew] == [0, 2]
    assert [task.unit for task in anew] != [tasks[0].unit, tasks[2].unit]


def test_a_picture_that_was_missing_is_taken_when_failed_edits_are_tried_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    tasks = run.find()
    run.record(tasks[:2], "edited")
    run.record(tasks[2:])
    put(tmp_path / f"pictures/{tasks[2].sample.sample_id}.png", 6)
    with pytest.raises(UserError, match="1 edits of this run were made with other settings"):
        run.find()
    assert [task.sample.index for task in run.find("pictures", "retry_failed=true")] == [2]
    put(tmp_path / f"pictures/{tasks[0].sample.sample_id}.png", 5)
    with pytest.raises(UserError, match="1 edits of this run were made with other settings"):
        run.find("pictures", "retry_failed=true")


def test_where_the_pictures_are_gone_edits_are_not_called_outdated(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.record(run.find())
    shutil.rmtree(tmp_path / "pictures")
    assert run.find() == []
    assert not verify(run.run_dir)["stale"]
