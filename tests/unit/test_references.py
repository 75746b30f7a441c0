"""References, pictures of a correct result: read with the rows, shown to the judge where a criterion wants them."""

import base64
import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmark_file import make_picture, make_record, png_bytes
from PIL import Image

from editbench import images
from editbench.components.load import open_dataset
from editbench.config import load as configuration
from editbench.config.schema import Config
from editbench.datasets.base import BadRecord, Record, read_reference
from editbench.datasets.folder import Folder
from editbench.datasets.json_file import JsonFile
from editbench.datasets.parquet import Parquet
from editbench.errors import UserError
from editbench.judges.batches import BatchJudge
from editbench.judges.fake import FakeJudge
from editbench.judges.prompts import REFERENCE
from editbench.pictures import look_at
from editbench.plan import ensure_plan
from editbench.report import build_report
from editbench.run.folder import Plan, RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, JudgeTask, to_dict
from editbench.run.shards import ShardWriter
from editbench.run.thumbs import reference_name
from editbench.todo import find_judge_tasks
from editbench.views.gallery import report_gallery

SOURCE, REF, EDITED = (make_picture(number, (40 + number, 30)) for number in range(3))


def row(index: str, **fields: Any) -> dict[str, Any]:
    category = "logical_reasoning" if "logical" in index else "spatial_reasoning"
    return {"index": index, "category": category, "instruction": "Solve it", "image": "a.png", **fields}


ROWS = [
    row("logical_1", reference_img="a_ref.png"),
    row("logical_2", reference_txt="The answer is 7"),
    row("spatial_1", reference="Seen from above"),
    row("spatial_2", reference="Seen from above", reference_img="a_ref.png"),
]


@pytest.fixture
def rise(tmp_path: Path) -> Path:
    """A folder of RISEBench's schema."""
    (tmp_path / "a.png").write_bytes(png_bytes(SOURCE))
    (tmp_path / "a_ref.png").write_bytes(png_bytes(REF))
    write(tmp_path, ROWS)
    return tmp_path


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "data_total.json").write_text(json.dumps(rows), encoding="utf-8")


def load(folder: Path, *overrides: str) -> Config:
    places = [f"dataset.path={folder / 'data_total.json'}", f"run_dir={folder / 'run'}"]
    return configuration.load(["dataset=rise", *places, "editor=fake", "judge=fake", *overrides])


def edited(folder: Path, *overrides: str) -> tuple[Config, RunDir, Plan]:
    """A run whose samples have been edited."""
    config = load(folder, *overrides)
    run = RunDir(config.run_dir)
    shutil.rmtree(config.run_dir, ignore_errors=True)
    plan = ensure_plan(config, run)
    shards, edits = ShardWriter(run.edits, 2**20), []
    png = png_bytes(EDITED)
    for sample in plan.samples:
        shard, offset = shards.append(sample.key, png, b"{}")
        sizes = (*SOURCE.size, *EDITED.size)
        edits.append(
            Edit(
                *(sample.sample_id, sample.category, "edited", "u", sample_input(sample), 0, 0.1, *sizes),
                *(hashlib.sha256(png).hexdigest(), shard, offset, len(png)),
            )
        )
    shards.close()
    lines = JsonLines(run.edits_index)
    lines.append(*edits)
    lines.close()
    return config, run, plan


def tasks(folder: Path, *overrides: str) -> dict[str, JudgeTask]:
    config, run, plan = edited(folder, *overrides)
    return {task.sample.sample_id: task for task in find_judge_tasks(config, run, plan, None).tasks}


def shown(folder: Path, task: JudgeTask, *overrides: str) -> dict[str, tuple[list[tuple[int, int]], bool, str]]:
    """For each criterion the sizes of the images, whether the prompt speaks of a reference, and the prompt."""
    config = load(folder, *overrides)
    judge = BatchJudge(FakeJudge(["cpu"]), open_dataset(config.dataset), config, RunDir(config.run_dir))
    return {
        request.form.criterion if request.form else "": (
            [image.size for image in request.images],
            REFERENCE in request.user,
            request.user,
        )
        for request in judge.requests(task)
    }


def test_only_criteria_that_ask_for_the_answer_are_shown_the_reference_behind_the_others(rise: Path) -> None:
    found = tasks(rise)
    puzzle = shown(rise, found["logical_1"])
    assert puzzle["puzzle_consistency"][:2] == ([SOURCE.size, EDITED.size], False)
    assert puzzle["puzzle_solution"][:2] == ([SOURCE.size, EDITED.size, REF.size], True)
    reasoned = shown(rise, found["spatial_2"])
    assert [asked[0] for asked in reasoned.values()] == [
        [SOURCE.size, EDITED.size],
        [SOURCE.size, EDITED.size, REF.size],
        [EDITED.size],
    ]


def test_an_answer_in_words_goes_into_the_prompt_that_asks_for_it(rise: Path) -> None:
    found = tasks(rise)
    asked = shown(rise, found["logical_2"])
    assert "The answer is 7" in asked["puzzle_solution"][2] and "The answer is 7" not in asked["puzzle_consistency"][2]
    assert asked["puzzle_solution"][:2] == ([SOURCE.size, EDITED.size], False)


def test_the_reference_stays_last_where_the_edit_comes_first(rise: Path) -> None:
    task = dataclasses.replace(tasks(rise)["logical_1"], control="swapped")
    assert shown(rise, task)["puzzle_solution"][0] == [EDITED.size, SOURCE.size, REF.size]


def test_the_reference_s_bytes_count_in_the_unit_and_only_where_it_is_shown(rise: Path) -> None:
    before, general = tasks(rise), tasks(rise, "protocol=seed")
    (rise / "a_ref.png").write_bytes(png_bytes(EDITED))
    after, general_after = tasks(rise), tasks(rise, "protocol=seed")
    changed = {name for name in before if before[name].unit != after[name].unit}
    assert changed == {"logical_1", "spatial_2"}
    assert [task.unit for task in general.values()] == [task.unit for task in general_after.values()]
    assert [task.edit.input for task in before.values()] == [task.edit.input for task in after.values()]


def test_a_sample_without_a_reference_has_the_unit_that_it_had_without_the_field(rise: Path) -> None:
    plain = "dataset.fields.reference=null"
    with_field, without = tasks(rise), tasks(rise, plain)
    same = {name for name in without if with_field[name].unit == without[name].unit}
    assert same == {"logical_2", "spatial_1"}


def test_the_plan_and_its_stamp_name_the_reference_and_a_sample_without_one_is_as_before(rise: Path) -> None:
    config = load(rise)
    first, second, *_ = ensure_plan(config, RunDir(config.run_dir)).samples
    assert (first.reference, first.reference_sha256) == ("a_ref.png", hashlib.sha256(png_bytes(REF)).hexdigest())
    assert "reference" not in to_dict(second) and "reference_sha256" not in to_dict(second)
    stamp = open_dataset(config.dataset).stamp()
    (rise / "a_ref.png").write_bytes(png_bytes(EDITED))
    assert open_dataset(config.dataset).stamp() != stamp


def test_a_reference_that_was_changed_since_the_plan_fails_its_sample(rise: Path) -> None:
    task = tasks(rise)["logical_1"]
    (rise / "a_ref.png").write_bytes(png_bytes(EDITED))
    with pytest.raises(ValueError, match="reference image is no longer the planned one"):
        shown(rise, task)


def test_a_reference_beyond_the_limits_of_sources_fails_its_judgment_alone(rise: Path) -> None:
    (rise / "a_ref.png").write_bytes(png_bytes(make_picture(3, (100, 80))))
    found, limits = tasks(rise), "source.max_megapixels=0.005"
    config = load(rise, limits)
    judge = BatchJudge(FakeJudge(["cpu"]), open_dataset(config.dataset), config, RunDir(config.run_dir))
    large, none = judge.judge(judge.prepare([found["logical_1"], found["logical_2"]]))
    assert large.state == "judge_failed" and large.error is not None and large.score is None
    assert large.error.startswith(f"the image has 100x80 pixels; {limits} are accepted")
    assert none.error is None and none.state != "judge_failed"


@pytest.mark.parametrize(
    ("value", "says"),
    [("b_ref.png", "image 'b_ref.png': there is no such file"), (5, "reference_img is an int, must be text")],
)
def test_a_row_whose_reference_cannot_be_is_bad(rise: Path, value: Any, says: str) -> None:
    write(rise, [row("logical_1", reference_img=value)])
    (found,) = open_dataset(load(rise).dataset).scan()
    assert isinstance(found, BadRecord) and says in found.problem


def test_a_field_that_a_table_has_filled_with_nan_is_no_reference(rise: Path) -> None:
    write(rise, [row("logical_1", reference=float("nan"), reference_img=float("nan"), reference_txt="7")])
    (found,) = open_dataset(load(rise).dataset).scan()
    assert not isinstance(found, BadRecord)
    assert (found.reference, found.description) == (None, "7")


def test_settings_that_cannot_give_a_reference_are_refused(rise: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.fields\.reference: no turn"):
        Folder(str(rise), fields={"instruction": ["a", "b"], "reference": "r"})
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    picture = pa.array(
        [{"bytes": png_bytes(SOURCE), "path": None}], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    pq.write_table(pa.table({"image": picture, "answer": picture, "instruction": ["x"]}), rise / "x.parquet")
    opened = Parquet(str(rise / "x.parquet"), fields={"image": "image", "reference": "answer"})
    with pytest.raises(UserError, match=r"dataset\.fields\.reference names a column of paths"):
        list(opened.scan())


# ---- for people ----


def test_the_report_shows_a_reference_beside_the_edit_and_says_where_it_cannot(rise: Path) -> None:
    config, run, plan = edited(rise)
    page = report_gallery(build_report(run, "", looks=look_at(run, config)))["samples"]
    with_one, without, *_ = page
    assert with_one["reference"] == f"thumbs/{reference_name(plan.samples[0])}" == page[3]["reference"]
    assert "reference" not in without
    with Image.open(run.root / with_one["reference"]) as thumb:
        assert thumb.size == REF.size
    assert not look_at(run, config).notes
    (rise / "a_ref.png").write_bytes(png_bytes(EDITED))
    (run.root / with_one["reference"]).unlink()
    looks = look_at(run, config)
    assert looks.notes == [
        "pictures: 2 of 4 edits are shown without their reference (ValueError: the reference image is no longer the "
        "planned one; start the edit phase again (where a JSON file names images by path, touch that file before, so "
        "that the plan is made anew))"
    ]
    assert report_gallery(build_report(run, "", looks=looks))["samples"][0]["reference"] == ""
    (rise / "a_ref.png").write_bytes(png_bytes(REF))
    assert not look_at(run, config).notes and (run.root / with_one["reference"]).exists()


def test_of_an_edit_that_lacks_its_reference_alone_no_other_picture_is_read_again(
    rise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rise / "a_ref.png").write_bytes(b"no picture")
    config, run, _ = edited(rise)
    first = look_at(run, config)
    decoded: list[bytes] = []
    real = images.decode_rgb
    monkeypatch.setattr(images, "decode_rgb", lambda data, limits=None: decoded.append(data) or real(data, limits))
    again = look_at(run, config)
    assert again == first and len(again.notes) == 1 and "shown without their reference" in again.notes[0]
    assert decoded == [b"no picture"] * 2  # of two edits
    for thumb in run.thumbs.glob("*-edited.webp"):
        thumb.unlink()
    assert look_at(run, config) == first and len(list(run.thumbs.glob("*-edited.webp"))) == 4


def test_a_reference_that_could_not_be_read_for_the_plan_is_no_picture(rise: Path) -> None:
    (sample,) = (one for one in edited(rise)[2].samples if one.sample_id == "logical_1")
    nothing = dataclasses.replace(sample, reference_sha256=hashlib.sha256(b"").hexdigest())
    assert reference_name(sample) and reference_name(nothing) is None


# ---- records of the benchmark format ----

IN_BASE64, BY_PATH = "reference_img_b64", "reference_image_path"


def bench(folder: Path, *records: dict[str, Any], name: str = "bench.json") -> Path:
    """A benchmark file with a reference beside it in `answers`."""
    (folder / "answers").mkdir(exist_ok=True)
    (folder / "answers" / "a.png").write_bytes(png_bytes(REF))
    made = [make_record(number, "物理", f"s{number}") | record for number, record in enumerate(records)]
    lines = [json.dumps(record, ensure_ascii=False) for record in made]
    text = "\n".join(lines) if name.endswith("jsonl") else f"[{', '.join(lines)}]"
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def text_of(picture: Any) -> str:
    return base64.b64encode(png_bytes(picture)).decode()


@pytest.mark.parametrize("name", ["bench.json", "bench.jsonl"])
def test_a_record_has_its_reference_in_base64_or_by_path(tmp_path: Path, name: str) -> None:
    uri = f"data:image/png;base64,{text_of(REF)}"
    records = [{BY_PATH: "answers/a.png"}, {IN_BASE64: uri, BY_PATH: "gone.png"}, {BY_PATH: "", IN_BASE64: None}]
    path = bench(tmp_path, *records, name=name)
    kind = "jsonl" if name.endswith("jsonl") else "json_file"
    config = configuration.load(
        [f"dataset={kind}", f"dataset.path={path}", f"run_dir={tmp_path / 'run'}", "judge=fake"]
    )
    dataset = open_dataset(config.dataset)
    by_path, inside, without = ensure_plan(config, RunDir(config.run_dir)).samples
    assert (by_path.reference, inside.reference, without.reference) == ("answers/a.png", IN_BASE64, None)
    assert by_path.reference_sha256 == inside.reference_sha256 == hashlib.sha256(png_bytes(REF)).hexdigest()
    assert read_reference(dataset, by_path) == read_reference(dataset, inside) == png_bytes(REF)
    assert not {IN_BASE64, BY_PATH} & (by_path.extra.keys() | inside.extra.keys())
    (tmp_path / "answers" / "a.png").write_bytes(png_bytes(EDITED))
    with pytest.raises(ValueError, match=r"reference image is no longer the planned one.*touch that file"):
        read_reference(dataset, by_path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({BY_PATH: "b.png"}, "reference_image_path: image 'b.png': there is no such file in "),
        ({BY_PATH: "../a.png"}, "reference_image_path: image '../a.png' lies outside "),
        ({BY_PATH: ["a.png"]}, "reference_image_path is a list, must be text"),
        ({IN_BASE64: 5, BY_PATH: "answers/a.png"}, "reference_img_b64 is an int, must be text"),
        ({IN_BASE64: "§"}, "reference_img_b64 is no base64: "),
        ({IN_BASE64: "data:image/png;base64,"}, "reference_img_b64 is empty"),
    ],
)
def test_a_record_whose_reference_cannot_be_is_bad(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    (found,) = JsonFile(str(bench(tmp_path, fields))).scan()
    assert isinstance(found, BadRecord) and found.problem.startswith(says) and found.sample_id == "s0"


def test_a_reference_that_is_gone_since_the_plan_costs_no_source(tmp_path: Path) -> None:
    opened = JsonFile(str(bench(tmp_path, {BY_PATH: "answers/a.png"})))
    (record,) = opened.scan()
    assert isinstance(record, Record)
    (tmp_path / "answers" / "a.png").unlink()
    assert opened.read(record.locator) == record.source
    with pytest.raises(ValueError, match=r"reference_image_path: image 'answers/a\.png': there is no such file"):
        opened.read_reference(record.locator)


def test_a_criterion_that_asks_for_it_is_shown_the_reference_of_a_record(tmp_path: Path) -> None:
    records = [{IN_BASE64: text_of(REF)}, {BY_PATH: "answers/a.png"}, {}]
    path = bench(tmp_path, *({"subset": "spatial_reasoning"} | record for record in records))
    overrides = ["dataset=json_file", f"dataset.path={path}", "rubric=rise", "protocol=rise"]
    found = tasks(tmp_path, *overrides)
    sizes = {id_: [asked[0] for asked in shown(tmp_path, task, *overrides).values()] for id_, task in found.items()}
    assert sizes["s0"] == sizes["s1"]
    assert [images[-1] == REF.size for images in sizes["s0"]] == [False, True, False]
    assert not any(REF.size in images for images in sizes["s2"])
