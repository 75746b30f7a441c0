"""Samples with several source images: read, planned, shown to the judge, named in thumbnails, counted as one source."""

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_file import make_picture, make_record, png_bytes

from editbench.components.load import open_dataset
from editbench.config import load as configuration
from editbench.config.schema import Config, SourceConfig
from editbench.datasets.base import BadRecord, read_sources
from editbench.datasets.json_file import JsonFile
from editbench.datasets.sources import Sources
from editbench.editors.fake import FakeEditor
from editbench.editors.one_sample import edit_one
from editbench.errors import UserError
from editbench.judges.batches import BatchJudge
from editbench.judges.fake import FakeJudge
from editbench.judges.prompts import by_rubric, prompts
from editbench.plan import ensure_plan
from editbench.run.folder import Plan, RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, JudgeTask, Sample, to_dict
from editbench.run.shards import ShardWriter
from editbench.run.thumbs import source_names
from editbench.todo import find_edit_tasks, find_judge_tasks

FILES = [png_bytes(make_picture(number, (40 + number, 30))) for number in range(5)]
WITH_SOURCE = "judge.compare_with_original=true"
TEXTS = [base64.b64encode(file).decode() for file in FILES]


def write_records(folder: Path, counts: list[int]) -> Path:
    """A benchmark file whose records have so many images each."""
    records = []
    for number, count in enumerate(counts):
        record = make_record(number, "物理", f"s{number}")
        records.append(record | {"src_img_b64": TEXTS[0] if count == 1 else TEXTS[:count]})
    path = folder / "bench.json"
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return path


def load(folder: Path, *overrides: str) -> Config:
    places = [f"dataset.path={folder / 'bench.json'}", f"run_dir={folder / 'run'}"]
    return configuration.load([*places, "dataset=json_file", "editor=fake", "judge=fake", *overrides])


def plan(folder: Path, *overrides: str) -> Plan:
    config = load(folder, *overrides)
    return ensure_plan(config, RunDir(config.run_dir))


def refusal(folder: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        plan(folder, *overrides)
    return str(caught.value)


# ---- records ----


def test_a_record_has_a_list_of_images_in_base64_or_by_path(tmp_path: Path) -> None:
    for number, file in enumerate(FILES):
        (tmp_path / f"{number}.png").write_bytes(file)
    by_path = make_record(1, "物理", "x") | {"src_img_b64": None, "original_image_path": ["0.png", "1.png"]}
    inside = make_record(2, "物理", "x") | {"src_img_b64": TEXTS, "original_image_path": None}
    (tmp_path / "bench.json").write_text(json.dumps([by_path, inside]), encoding="utf-8")
    opened = JsonFile(str(tmp_path / "bench.json"))
    first, second = opened.scan()
    assert not isinstance(first, BadRecord) and not isinstance(second, BadRecord)
    assert (first.sample_id, first.source, opened.read(first.locator)) == ("0", None, FILES[:2])
    assert second.source == opened.read(second.locator) == FILES


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"src_img_b64": []}, "src_img_b64 is missing"),
        ({"src_img_b64": [TEXTS[0], 5]}, "src_img_b64 is an int, must be text"),
        ({"src_img_b64": None, "original_image_path": ["0.png", "9.png"]}, "image '9.png': there is no such file"),
        ({"src_img_b64": None, "original_image_path": []}, "src_img_b64 is missing, and so is the path"),
    ],
)
def test_a_list_with_something_else_in_it_is_a_bad_record(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    (tmp_path / "0.png").write_bytes(FILES[0])
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([make_record(1, "物理", "x") | fields]), encoding="utf-8")
    (record,) = JsonFile(str(path)).scan()
    assert isinstance(record, BadRecord) and says in record.problem


def test_one_broken_image_of_several_fails_the_sample_alone_and_says_which(tmp_path: Path) -> None:
    broken = make_record(1, "物理", "x") | {"src_img_b64": [TEXTS[0], "§"]}
    (tmp_path / "bench.json").write_text(json.dumps([broken]), encoding="utf-8")
    config = load(tmp_path)
    (sample,) = plan(tmp_path).samples
    (task,) = find_edit_tasks(config, RunDir(config.run_dir), plan(tmp_path), None).tasks
    read = Sources(config.dataset, SourceConfig()).take(sample, then=None)
    edit, image = edit_one(FakeEditor("cpu"), task, read, lambda _done, _total: None)
    assert (edit.state, image) == ("edit_failed", None)
    assert edit.error is not None and edit.error.startswith("src_img_b64 is no base64") and "image 2" in edit.error


# ---- plan ----


def test_a_plan_names_every_image_and_one_alone_as_before(tmp_path: Path) -> None:
    write_records(tmp_path, [1, 2, 5])
    one, two, five = plan(tmp_path).samples
    digests = [hashlib.sha256(file).hexdigest() for file in FILES]
    assert (one.source_sha256, one.images_sha256, one.source_images) == (digests[0], [], 1)
    assert "images_sha256" not in to_dict(one)
    assert (two.images_sha256, five.images_sha256) == (digests[:2], digests)
    assert (two.source_images, five.source_images) == (2, 5)
    assert len({one.source_sha256, two.source_sha256, five.source_sha256, *digests}) == 2 + 5
    assert RunDir(tmp_path / "run").read_plan() == plan(tmp_path)


def test_the_order_of_the_images_counts(tmp_path: Path) -> None:
    write_records(tmp_path, [2])
    (sample,) = plan(tmp_path).samples
    record = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))[0]
    turned = [record | {"src_img_b64": TEXTS[1::-1]}]
    (tmp_path / "bench.json").write_text(json.dumps(turned, ensure_ascii=False), encoding="utf-8")
    (other,) = plan(tmp_path).samples
    assert sample_input(sample) != sample_input(other)
    with pytest.raises(ValueError, match="no longer the planned one"):
        read_sources(open_dataset(load(tmp_path).dataset), sample)
    assert read_sources(open_dataset(load(tmp_path).dataset), other) == FILES[1::-1]


def test_an_editor_that_takes_one_image_is_refused_by_the_plan_in_a_sentence(tmp_path: Path) -> None:
    write_records(tmp_path, [1, 2, 5])
    said = refusal(tmp_path, "editor=flux_kontext")
    assert said.startswith(
        "editor=flux_kontext takes one source image, and 2 of 3 samples have more, such as 's1' with 2; choose"
    )
    assert not (tmp_path / "run" / "plan.json").exists()
    assert len(plan(tmp_path, "editor=flux_kontext", "editor.images=stitch").samples) == 3
    assert "takes one source image" in refusal(tmp_path, "editor=flux_kontext"), "the plan is there now"
    for editor in ("qwen_image_edit_2511", "fake"):
        assert len(plan(tmp_path, f"editor={editor}").samples) == 3
    assert len(plan(tmp_path, "editor=flux_kontext", "limit=1").samples) == 1


# ---- editor ----


def test_an_editor_without_the_method_for_several_fails_the_sample_and_is_never_given_a_part(tmp_path: Path) -> None:
    class TakesOne:
        def edit(self, *_: Any) -> Any:
            raise AssertionError("it was asked")

        def describe(self) -> dict[str, Any]:
            return {}

    write_records(tmp_path, [2])
    config = load(tmp_path)
    (task,) = find_edit_tasks(config, RunDir(config.run_dir), plan(tmp_path), None).tasks
    read = Sources(config.dataset, SourceConfig()).take(task.sample, then=None)
    edit, _ = edit_one(TakesOne(), task, read, lambda _done, _total: None)
    assert (edit.state, edit.error) == ("edit_failed", "the sample has 2 source images, and the editor takes one")
    edit, image = edit_one(FakeEditor("cpu"), task, read, lambda _done, _total: None)
    assert image is not None and (edit.state, image.size) == ("edited", (40, 30))
    assert (edit.source_width, edit.source_height) == (40, 30)


# ---- judge ----


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Samples with one, two and five images, each with an edit, and the controls wanted."""
    write_records(tmp_path, [1, 2, 5])
    run_dir = RunDir(load(tmp_path).run_dir)
    run_dir.create()
    shards, edits = ShardWriter(run_dir.edits, 2**20, None), []
    for sample in plan(tmp_path).samples:
        png = png_bytes(make_picture(100 + sample.index, (50, 30)))
        shard, offset = shards.append(sample.key, png, b"{}")
        edits.append(
            Edit(
                *(sample.sample_id, sample.category, "edited", "u", sample_input(sample), 0, 0.1, 40, 30, 50, 30),
                *(hashlib.sha256(png).hexdigest(), shard, offset, len(png)),
            )
        )
    shards.close()
    lines = JsonLines(run_dir.edits_index)
    lines.append(*edits)
    lines.close()
    return tmp_path


def judge_tasks(folder: Path, *overrides: str) -> dict[tuple[str, str], JudgeTask]:
    config = load(folder, *overrides)
    tasks = find_judge_tasks(config, RunDir(config.run_dir), plan(folder), None).tasks
    return {(task.sample.sample_id, task.control): task for task in tasks}


def test_the_judge_sees_all_sources_in_order_and_then_the_edit_and_is_told_how_many(judged: Path) -> None:
    settings = (WITH_SOURCE, "score.controls=3")
    config, tasks = load(judged, *settings), judge_tasks(judged, *settings)
    judge = BatchJudge(FakeJudge(["cpu"]), open_dataset(config.dataset), config, RunDir(config.run_dir))
    widths = lambda request: [image.width for image in request.images]  # noqa: E731
    five = judge.requests(tasks["s2", ""])[0]
    assert widths(five) == [40, 41, 42, 43, 44, 50]
    assert five.user.startswith("There are 6 images here: 5 source images, in the order")
    assert "comes last" in five.user
    swapped = judge.requests(tasks["s2", "swapped"])[0]
    assert widths(swapped) == [50, 40, 41, 42, 43, 44] and "comes first" in swapped.user
    assert widths(judge.requests(tasks["s1", "unchanged"])[0]) == [40, 41, 40], "the first source stands for the edit"
    one = judge.requests(tasks["s0", ""])[0]
    assert (
        widths(one) == [40, 50]
        and one.user == prompts(by_rubric(config.rubrics["physical"], True), tasks["s0", ""].sample)[1]
    )
    assert "images here" not in one.user


def test_a_judge_without_sources_is_told_nothing_of_them(judged: Path) -> None:
    config, task = load(judged), judge_tasks(judged)["s2", ""]
    request = BatchJudge(FakeJudge(["cpu"]), None, config, RunDir(config.run_dir)).requests(task)[0]
    assert [image.width for image in request.images] == [50] and "images here" not in request.user


def test_more_sources_are_more_to_read(judged: Path) -> None:
    tasks = judge_tasks(judged, WITH_SOURCE)
    area = 40 * 30 / 1024  # of each source, as the first is
    lengths = [tasks[f"s{number}", ""].length for number in range(3)]
    assert [round(length - lengths[0]) for length in lengths] == [0, round(area), round(4 * area)]
    assert len({task.unit for task in tasks.values()}) == 3


# ---- thumbnails ----


def test_samples_share_the_thumbnail_of_an_image_that_both_have(tmp_path: Path) -> None:
    write_records(tmp_path, [1, 2])
    one, two = plan(tmp_path).samples
    assert source_names(one) == source_names(two)[:1] and len(set(source_names(two))) == 2


def test_a_sample_of_an_earlier_version_has_one_image(tmp_path: Path) -> None:
    write_records(tmp_path, [1])
    (sample,) = plan(tmp_path).samples
    assert Sample(**to_dict(sample)) == sample == dataclasses.replace(sample, images_sha256=[])
