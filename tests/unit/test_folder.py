"""Folders of images with a table, and lines of records: every form read, every fault told in one sentence."""

import csv
import json
from pathlib import Path

import pytest

from editbench.config.load import load
from editbench.datasets import json_lines, tables
from editbench.datasets.base import BadRecord, Record
from editbench.datasets.folder import Folder
from editbench.datasets.json_lines import JsonLines
from editbench.errors import UserError
from editbench.plan import ensure_plan
from editbench.run.folder import RunDir

PHOTOS = Path(__file__).resolve().parents[2] / "data" / "demo" / "photos"
CAT, CUP = (PHOTOS / "chelsea.png").read_bytes(), (PHOTOS / "coffee.jpg").read_bytes()
ROWS = [
    {"image": "a/cat.png", "instruction": "Add a hat", "category": "add", "id": "k1", "level": "easy"},
    {"image": "cup.jpg", "instruction": "Remove the cup", "category": "remove", "id": "k2", "level": "hard"},
]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "bench"
    (root / "a").mkdir(parents=True)
    (root / "a" / "cat.png").write_bytes(CAT)
    (root / "cup.jpg").write_bytes(CUP)
    return root


def write(folder, name, rows):
    """Write rows in the format that the name's ending says; text as it is."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, str | bytes):
        path.write_bytes(rows.encode() if isinstance(rows, str) else rows)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def one(folder, **arguments):
    (record,) = Folder(str(folder), **arguments).scan()
    return record


# ---- forms ----


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.csv", "t.tsv"])
def test_a_table_of_each_format_gives_records_with_image_and_other_fields(folder, name):
    write(folder, name, ROWS)
    opened = Folder(str(folder))
    records = list(opened.scan())
    assert [(r.sample_id, r.category, r.instruction, r.description) for r in records] == [
        ("k1", "add", "Add a hat", ""),
        ("k2", "remove", "Remove the cup", ""),
    ]
    assert [record.extra["level"] for record in records] == ["easy", "hard"]
    assert [opened.read(json.loads(json.dumps(record.locator))) for record in records] == [CAT, CUP]
    assert list(Folder(str(folder / name)).scan()) == records  # the table itself as dataset.path


def test_an_imagefolder_of_the_hub_with_file_name_and_one_table_for_each_split(folder):
    write(folder, "train/metadata.jsonl", [{"file_name": "x.png", "instruction": "Add a hat"}])
    (folder / "train" / "x.png").write_bytes(CAT)
    write(folder, "test/metadata.jsonl", [{"file_name": "x.png", "instruction": "Add a hat"}])
    (folder / "test" / "x.png").write_bytes(CUP)
    opened = Folder(str(folder))
    records = list(opened.scan())
    assert [opened.read(record.locator) for record in records] == [CUP, CAT]
    assert {(r.sample_id, r.category) for r in records} == {("x", "general")}
    assert records[0].repeat_id != records[1].repeat_id
    assert [r.locator for r in Folder(str(folder / "test")).scan()] == [["x.png"]]


def test_a_dict_of_rows_and_an_id_made_of_several_fields(folder):
    write(folder, "a/annotation.json", {"7": {"photo": ["cat.png"], "prompt": "Add"}})
    fields = {"image": "photo", "instruction": "prompt", "category": "_folder", "id": ["_folder", "_key"]}
    record = one(folder, table="*/annotation.json", fields=fields)
    assert (record.sample_id, record.category, record.locator) == ("a/7", "a", ["a/cat.png"])


def test_without_id_the_stem_without_category_the_one_given(folder):
    write(folder, "t.json", [{"image": "a/cat.png", "instruction": "Add"}])
    assert (one(folder).sample_id, one(folder).category) == ("cat", "general")
    assert one(folder, category="physical").category == "physical"


def test_images_can_lie_elsewhere(folder, tmp_path):
    table = write(tmp_path, "elsewhere/t.json", ROWS[:1])
    assert one(table).problem.startswith("image 'a/cat.png': there is no such file")
    opened = Folder(str(table), images=str(folder))
    assert opened.read(next(opened.scan()).locator) == CAT


def test_a_language_can_be_chosen(folder):
    write(folder, "t.json", [ROWS[0] | {"lang": "en"}, ROWS[1] | {"lang": "cn"}])
    assert one(folder, fields={"language": "lang"}, language="cn").sample_id == "k2"
    with pytest.raises(UserError, match=r"dataset\.language=zh: no record is in that language; found cn, en"):
        list(Folder(str(folder), fields={"language": "lang"}, language="zh").scan())
    with pytest.raises(UserError, match=r"give dataset\.fields\.language"):
        Folder(str(folder), language="cn")


def test_json_lines_in_a_file_named_json_are_read(folder):
    write(folder, "t.json", "\n".join(map(json.dumps, ROWS)))
    assert [record.sample_id for record in Folder(str(folder)).scan()] == ["k1", "k2"]


def test_the_stamp_changes_with_table_and_images_and_with_nothing_else(folder):
    write(folder, "t.json", ROWS)
    stamps = [Folder(str(folder)).stamp()]
    (folder / "notes.txt").write_text("x")
    assert Folder(str(folder)).stamp() == stamps[0] == json.loads(json.dumps(stamps[0]))
    (folder / "cup.jpg").write_bytes(CAT)
    stamps.append(Folder(str(folder)).stamp())
    write(folder, "t.json", ROWS[:1])
    stamps.append(Folder(str(folder)).stamp())
    assert stamps[0] != stamps[1] != stamps[2] != stamps[0]


def test_it_is_planned_by_one_override_under_the_general_rubric(folder, tmp_path):
    write(folder, "t.csv", [{"image": row["image"], "instruction": row["instruction"]} for row in ROWS])
    settings = ["dataset=folder", f"dataset.path={folder}", "editor=fake", "judge=fake", f"run_dir={tmp_path / 'run'}"]
    plan = ensure_plan(load(settings), RunDir(tmp_path / "run"))
    assert [(sample.sample_id, sample.category) for sample in plan.samples] == [("cat", "general"), ("cup", "general")]
    assert all(len(sample.source_sha256) == 64 for sample in plan.samples)


# ---- bad rows ----


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"image": "b.png"}, "image 'b.png': there is no such file in"),
        ({"image": "../secret.png"}, "image '../secret.png' lies outside"),
        ({"image": None}, "file_name or image is missing (name the image's field with dataset.fields.image=…)"),
        ({"image": 5}, "file_name or image is 5, must be a path"),
        ({"image": ["cup.jpg", "b.png"]}, "image 'b.png': there is no such file in"),
        ({"image": ["cup.jpg", 5]}, 'file_name or image is ["cup.jpg", 5], must be a path'),
        ({"instruction": None}, "instruction is missing (there are _folder, image, instruction, category, id"),
        ({"instruction": ["Add"]}, "instruction is a list, must be text"),
        ({"category": 3}, "category is an int, must be text"),
        ({"id": ["a"]}, "id is a list, must be text"),
        ({"id": "\ud800"}, "id holds half a surrogate pair"),
    ],
)
def test_a_bad_row_is_told_and_the_others_are_read(folder, row, says):
    (folder.parent / "secret.png").write_bytes(CAT)
    write(folder, "t.json", [ROWS[0] | row, ROWS[1]])
    bad, good = Folder(str(folder)).scan()
    assert isinstance(bad, BadRecord) and isinstance(good, Record)
    assert says in bad.problem
    assert bad.sample_id.encode()


def test_a_row_that_is_no_object_or_has_too_many_values_is_bad(folder):
    write(folder, "t.jsonl", '{"image": "cup.jpg", "instruction": "x"}\n\n[1]\nnonsense')
    problems = [getattr(record, "problem", "") for record in Folder(str(folder)).scan()]
    assert problems[:2] == ["", "is a list, must be an object"] and problems[2].startswith("is no JSON")
    write(folder, "t.csv", "image,instruction\ncup.jpg,x,y\n")
    assert "more values than the first line has names: ['y']" in one(folder / "t.csv").problem


# ---- bad files ----


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.json", "", "is no JSON"),
        ("t.json", "[]", "the table holds no rows; give another file"),
        ("t.json", "5", "is an int, must be a list of objects or a dict"),
        ("t.json", '[{"a": 1}', "is no JSON"),
        ("t.jsonl", "\n\n", "the table holds no rows"),
        ("t.csv", "", "the table holds no rows"),
        ("t.csv", "image,instruction\n", "the table holds no rows"),
        ("t.csv", 'image,instruction\ncup.jpg,"x', "unexpected end of data; it must be CSV"),
        ("t.csv", "image\n中".encode("gb18030"), "is not UTF-8 (byte 6)"),
        ("t.json", b"\x89PNG\r\n\x1a\n", "is not UTF-8 (byte 0)"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(folder, name, content, says):
    path = write(folder, name, content)
    with pytest.raises(UserError) as caught:
        list(Folder(str(folder)).scan())
    assert str(caught.value).startswith(f"{path}: ") and says in str(caught.value)


@pytest.mark.parametrize("name", ["t.json", "t.csv", "t.jsonl"])
def test_a_table_of_3_gb_is_not_read(folder, name):
    with (folder / name).open("wb") as file:
        file.truncate(3 * 2**30)  # sparse
    with pytest.raises(UserError, match="has 3072 MiB, a table without images has at most 512"):
        list(Folder(str(folder)).scan())


def test_a_folder_without_a_table_or_with_several_names_them(folder):
    with pytest.raises(UserError, match=r"must hold metadata\.jsonl or one table, found none"):
        Folder(str(folder))
    write(folder, "b.csv", ROWS)
    write(folder, "a.csv", ROWS)
    with pytest.raises(UserError, match=r"found a\.csv, b\.csv; name it with dataset\.table="):
        Folder(str(folder))
    assert len(list(Folder(str(folder), table="b.csv").scan())) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"path": "nowhere"}, "dataset.path=.*nowhere: there is no such folder or table"),
        ({"table": "x*.json"}, r"dataset.table=x\*.json: there is no such file in"),
        ({"table": "/x.json"}, "dataset.table=/x.json: .*; give a pattern relative to dataset.path"),
        ({"fields": {"picture": "a"}}, "dataset.fields: 'picture' is none of image, instruction"),
        ({"fields": {"category": ["a", "b"]}}, "dataset.fields.category: must be one name"),
    ],
)
def test_settings_that_cannot_be_are_named(folder, arguments, says):
    write(folder, "t.json", ROWS)
    path = folder / arguments.pop("path", "")
    with pytest.raises(UserError, match=says):
        Folder(str(path), **arguments)


def test_a_table_with_another_ending_is_named(folder):
    write(folder, "t.xlsx", "PK")
    with pytest.raises(UserError, match=r"must end in one of \.jsonl, \.json, \.csv, \.tsv"):
        list(Folder(str(folder / "t.xlsx")).scan())
    assert tables.ENDINGS == (".jsonl", ".json", ".csv", ".tsv")


# ---- lines of records in the benchmark format ----

LINE = {"subset": "物理", "edit_instruction_en": "Add a hat", "original_image_path": "a/cat.png"}


def lines(folder, content):
    path = folder / "bench.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return JsonLines(str(path))


@pytest.mark.parametrize("piece", [1, 7, 2**20])
def test_each_line_is_a_record_found_again_at_its_bytes(folder, monkeypatch, piece):
    monkeypatch.setattr(json_lines, "_PIECE", piece)
    text = "\ufeff" + json.dumps(LINE, ensure_ascii=False) + "\r\n\n  \n" + json.dumps(LINE | {"src_img_b64": "AAAA"})
    opened = lines(folder, text)
    records = list(opened.scan())
    assert [record.locator[0] for record in records] == [0, 1]
    assert [(r.sample_id, r.category, r.instruction) for r in records] == [("cat", "物理", "Add a hat")] * 2
    assert [opened.read(record.locator) for record in records] == [CAT, b"\x00\x00\x00"]


def test_a_line_that_is_no_record_is_bad_alone(folder):
    opened = lines(folder, json.dumps(LINE) + '\nnull\n{"a":\n' + json.dumps(LINE))
    problems = [getattr(record, "problem", "") for record in opened.scan()]
    assert problems[0] == problems[3] == ""
    assert problems[1] == "is null, must be an object" and problems[2].startswith("is no JSON")


def test_a_json_list_and_a_file_of_3_gb_are_no_lines(folder):
    with pytest.raises(UserError, match=r"begins with \[, wanted a JSON object on every line; .* dataset=json_file"):
        list(lines(folder, json.dumps([LINE])).scan())
    opened = lines(folder, b"")
    with opened.path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse
    with pytest.raises(UserError, match=r"at byte 0 begins a line of 1 MiB and more that is no record \(b'\\x00"):
        list(opened.scan())
