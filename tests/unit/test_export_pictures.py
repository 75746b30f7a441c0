"""Pictures of a run as files: under their ids, and as the official scorers' own code looks for them."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_file import make_picture, png_bytes
from made_run import make_run, write_folder
from PIL import Image

from editbench.editors.pictures import find_picture
from editbench.errors import UserError
from editbench.export import ExportOptions, export, main
from editbench.exports.layouts import LAYOUTS, places_by_id, places_in
from editbench.exports.writing import LIST, folder_to_fill, write_file
from editbench.run.identity import sample_key
from editbench.run.records import Sample


def sample(sample_id, category="physical", **extra):
    return Sample(0, sample_id, sample_key(sample_id), category, "Change it", "", "ab" * 32, [0], extra)


def run_of(tmp_path, ids, results, **columns):
    rows = [{"id": id_, "category": "physical", **columns} for id_ in ids]
    write_folder(tmp_path / "photos", rows)
    return make_run(
        tmp_path / "mine", ["dataset=folder", f"dataset.path={tmp_path / 'photos'}", "rubric=seed"], results
    )


def do(run_dir, to, out, **options):
    return export(ExportOptions(str(run_dir.root), to, out, **options))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def upside_down(number):
    return np.asarray(make_picture(number))[::-1]


# ---- under their ids ----


def test_pictures_lie_under_their_ids_and_a_table_tells_the_rest(tmp_path):
    run_dir = run_of(tmp_path, ["cat", "zoo/dog", "hen"], [8.0, "unparsed", "edit_failed"])
    written = do(run_dir, "folder", tmp_path / "out")
    assert files(tmp_path / "out") == ["cat.png", LIST, "metadata.jsonl", "zoo/dog.png"]
    assert written.sentence.startswith("2 of 3 samples have a picture here; of the others (1 edit_failed) there is no")
    assert np.array_equal(Image.open(tmp_path / "out" / "zoo" / "dog.png"), upside_down(1))
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert [(row["file_name"], row["state"], row["score"]) for row in rows] == [
        ("cat.png", "scored", 8.0),
        ("zoo/dog.png", "unparsed", None),
    ]
    assert json.loads((tmp_path / "out" / LIST).read_text())["without_picture"] == {"hen": "edit_failed"}


def test_editbench_reads_them_back_as_a_dataset_and_as_edits(tmp_path):
    run_dir = run_of(tmp_path, ["cat", "zoo/dog"], [8.0, "edited"])
    do(run_dir, "folder", tmp_path / "out")
    for planned in run_dir.read_plan().samples:
        found = find_picture(tmp_path / "out", "{sample_id}", planned)
        assert np.array_equal(Image.open(found), upside_down(planned.index))
    again = ["dataset=folder", f"dataset.path={tmp_path / 'out'}", "dataset.fields.id=sample_id", "rubric=seed"]
    plan = make_run(tmp_path / "again", again, ["pending", "pending"]).read_plan()
    assert [s.sample_id for s in plan.samples] == ["cat", "zoo/dog"]


def test_side_by_side_the_source_is_on_the_left(tmp_path):
    run_dir = run_of(tmp_path, ["cat"], [8.0])
    do(run_dir, "folder", tmp_path / "out", side_by_side=True)
    both = np.asarray(Image.open(tmp_path / "out" / "cat.png"))
    assert np.array_equal(both, np.hstack([np.asarray(make_picture(0)), upside_down(0)]))


@pytest.mark.parametrize(
    "hostile",
    [
        "../up",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        "C:\\x",
        "..",
        ".",
        ".hidden",
        "nul\0",
        "a\nb",
        "",
        "x" * 300,
        "/".join("x" * 600),
        "NUL",
        "com1.jpg",
        "gpj.\N{RIGHT-TO-LEFT OVERRIDE}tac",
    ],
)
def test_an_id_that_is_no_harmless_path_is_replaced_by_its_key(hostile):
    assert places_by_id([sample(hostile)]) == {hostile: f"{sample_key(hostile)}.png"}


def test_two_samples_never_have_the_same_file():
    ids = ["Cat", "cat", "dog.png/1", "dog", sample_key("../up"), "../up", "Dog.PNG/2", "é", "e\u0301", "list.json/1"]
    places = places_by_id([sample(id_) for id_ in ids], ["list.json"])
    assert len({place.casefold() for place in places.values()}) == len(ids)
    assert places["Cat"] == "Cat.png" and places["cat"] == f"{sample_key('cat')}.png"
    assert places["é"] == "é.png" and places["list.json/1"] == f"{sample_key('list.json/1')}.png"
    assert places["dog"] == f"{sample_key('dog')}.png", "dog.png is a folder"


def test_a_plan_s_own_keys_are_not_trusted_as_names():
    given = dataclasses.replace(sample("../up"), key="../../up")
    assert places_by_id([given]) == {"../up": f"{sample_key('../up')}.png"}


def test_no_hostile_id_of_a_dataset_leaves_the_folder(tmp_path):
    run_dir = run_of(tmp_path, ["../../up", "fine"], [1.0, 2.0])
    before = files(tmp_path)
    do(run_dir, "folder", tmp_path / "out")
    assert {name for name in files(tmp_path) if not name.startswith("out/")} == set(before)
    assert f"{sample_key('../../up')}.png" in files(tmp_path / "out")


# ---- nothing is overwritten unasked ----


def test_what_is_there_is_kept_unless_force_is_given(tmp_path):
    run_dir = run_of(tmp_path, ["cat", "dog"], [8.0, 3.0])
    out = tmp_path / "out"
    do(run_dir, "folder", out)
    (out / "notes.txt").write_text("mine")
    (out / "cat.png").write_bytes(b"old")
    with pytest.raises(UserError, match="is there already; give another out=…, or write over it with force=true"):
        do(run_dir, "folder", out)
    assert (out / "cat.png").read_bytes() == b"old"
    do(run_dir, "folder", out, force=True)
    assert np.array_equal(Image.open(out / "cat.png"), upside_down(0))
    assert (out / "notes.txt").read_text() == "mine"


def test_with_force_pictures_that_an_earlier_export_left_are_removed_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    run_dir = run_of(tmp_path / "a", ["cat", "dog"], [8.0, 3.0])
    do(run_dir, "folder", out)
    (out / "bird.png").touch()
    listed = json.loads((out / LIST).read_text())
    (tmp_path / "precious").touch()
    (out / "link").symlink_to(tmp_path)
    listed["files"] += ["../precious", str(tmp_path / "precious"), "link/precious"]
    (out / LIST).write_text(json.dumps(listed))
    do(run_of(tmp_path / "b", ["cat"], [1.0]), "folder", out, force=True)
    assert files(out) == ["bird.png", "cat.png", LIST, "metadata.jsonl"]
    assert (tmp_path / "precious").exists()


def test_an_export_that_fails_leaves_nothing(tmp_path):
    run_dir = run_of(tmp_path, ["cat", "dog"], [8.0, 3.0])
    shard = run_dir.edits / "shard-00000.tar"
    data = bytearray(shard.read_bytes())
    data[run_dir.read_edits()["dog"].offset + 50] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"the sample .dog. cannot be exported: .* are not the image"):
        do(run_dir, "folder", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_file(tmp_path / "file" / "x.csv", "a", force=False)
    with pytest.raises(UserError, match="cannot be written"), folder_to_fill(tmp_path / "file", force=True):
        pass


def test_a_run_without_pictures_is_one_sentence(tmp_path):
    run_dir = run_of(tmp_path, ["cat"], ["edit_failed"])
    with pytest.raises(UserError, match="has no edited images; run the edit phase"):
        do(run_dir, "folder", tmp_path / "out")


# ---- the official layouts ----


def gedit(tmp_path):
    """Rows of GEdit-Bench's schema."""
    picture = {"bytes": png_bytes(make_picture(0)), "path": None}
    kinds = [("subject-add", "en"), ("color_alter", "en"), ("tone_transfer", "en")]
    columns = {
        "task_type": pa.array([task for task, _ in kinds]),
        "key": pa.array([f"{number:032x}" for number in range(len(kinds))]),
        "instruction": pa.array(["Change it"] * len(kinds)),
        "instruction_language": pa.array([language for _, language in kinds]),
        "input_image": pa.array([picture] * len(kinds), pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    }
    (tmp_path / "gedit").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "gedit" / "0000.parquet")
    return make_run(tmp_path / "mine", ["dataset=gedit", f"dataset.path={tmp_path / 'gedit'}"], [8.0, 7.0, "pending"])


def test_gedit_s_scorer_finds_picture_and_source_by_task_language_and_key(tmp_path):
    run_dir = gedit(tmp_path)
    written = do(run_dir, "gedit", tmp_path / "results", name="my-editor")
    fullset = tmp_path / "results" / "my-editor" / "fullset"
    key = f"{0:032x}"
    assert written.path == tmp_path / "results" / "my-editor"
    assert files(fullset) == [
        *(f"color_alter/en/{1:032x}.png", f"color_alter/en/{1:032x}_SRCIMG.png"),
        *(f"subject-add/en/{key}.png", f"subject-add/en/{key}_SRCIMG.png"),
    ]
    assert np.array_equal(Image.open(fullset / "subject-add" / "en" / f"{key}.png"), upside_down(0))
    assert np.array_equal(Image.open(fullset / "subject-add" / "en" / f"{key}_SRCIMG.png"), make_picture(0))
    assert "1 pending" in written.sentence


def test_imgedit_s_scorer_finds_pictures_by_key_in_one_folder(tmp_path):
    (tmp_path / "animal").mkdir()
    (tmp_path / "animal" / "1.png").write_bytes(png_bytes(make_picture(0)))
    rows = {
        "1082": {"id": "animal/1.png", "prompt": "Change it", "edit_type": "adjust"},
        "7": {"id": "animal/1.png", "prompt": "Cut it out", "edit_type": "extract"},
    }
    (tmp_path / "basic_edit.json").write_text(json.dumps(rows))
    settings = ["dataset=imgedit", f"dataset.path={tmp_path / 'basic_edit.json'}", f"dataset.images={tmp_path}"]
    do(make_run(tmp_path / "mine", settings, [8.0, "unparsed"]), "imgedit", tmp_path / "out")
    assert files(tmp_path / "out") == ["1082.png", "7.png", LIST]


def test_kris_s_scorer_finds_jpegs_by_category_and_number(tmp_path):
    folder = tmp_path / "KRIS_Bench" / "rule-based_reasoning"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(png_bytes(make_picture(0)))
    row = {"ori_img": "1.png", "gt_img": "", "ins_en": "Go on", "explain_en": "It goes on"}
    (folder / "annotation.json").write_text(json.dumps({"1": row}))
    run_dir = make_run(tmp_path / "mine", ["dataset=kris", f"dataset.path={tmp_path / 'KRIS_Bench'}"], [8.0])
    do(run_dir, "kris", tmp_path / "results")
    assert files(tmp_path / "results" / "mine") == [LIST, "rule-based_reasoning/1.jpg"]
    picture = Image.open(io.BytesIO((tmp_path / "results" / "mine" / "rule-based_reasoning" / "1.jpg").read_bytes()))
    assert picture.format == "JPEG"
    assert np.abs(np.asarray(picture, int) - upside_down(0)).mean() < 4


def test_rise_s_scorer_finds_pictures_by_category_and_index(tmp_path):
    (tmp_path / "1.png").write_bytes(png_bytes(make_picture(0)))
    row = {"index": "causal_reasoning_1", "category": "causal_reasoning", "instruction": "Go", "image": "1.png"}
    (tmp_path / "data_total.json").write_text(json.dumps([row]))
    run_dir = make_run(tmp_path / "mine", ["dataset=rise", f"dataset.path={tmp_path / 'data_total.json'}"], [8.0])
    do(run_dir, "rise", tmp_path / "outputs")
    assert files(tmp_path / "outputs" / "mine") == [LIST, "images/causal_reasoning/causal_reasoning_1.png"]


@pytest.mark.parametrize(
    ("to", "given", "words"),
    [
        ("gedit", sample("cat"), "its id is not task/language/key"),
        ("gedit", sample("subject_add/en/1"), "its id is not task/language/key"),
        ("gedit", sample("color_alter/fr/1"), "with one of the 11 tasks and en or cn"),
        ("gedit", sample("color_alter/en/.."), "'..' in its id cannot be the name of a file"),
        ("imgedit", sample("1"), "its category 'physical' is no edit type"),
        ("imgedit", sample("../1", "add"), "its id is no key of basic_edit.json or UGE_edit.json"),
        ("imgedit", sample("000029784", "uge"), "its id is no key of basic_edit.json or UGE_edit.json"),
        ("imgedit", sample("1", "add", turn2="Now"), "it is of the multi-turn set"),
        ("kris", sample("./1", "chemistry"), "its id is not category/number"),
        ("kris", sample("chemistry/../../1"), "cannot be the name of a file"),
        ("rise", sample("x", "chemistry"), "its category 'chemistry' is none of temporal_reasoning"),
        ("rise", sample("a\\b", "causal_reasoning"), "cannot be the name of a file"),
    ],
)
def test_what_a_sample_lacks_for_a_layout_is_said_and_not_guessed(to, given, words):
    with pytest.raises(UserError) as caught:
        places_in(LAYOUTS[to], [given])
    assert words in str(caught.value) and str(caught.value).startswith("1 of 1 samples have no place in the layout of")


# ---- the command ----


@pytest.mark.parametrize(
    ("to", "options", "words"),
    [
        ("csv", {"side_by_side": True}, "side_by_side has no effect with to=csv, only with to=folder"),
        ("folder", {"name": "x"}, "name has no effect with to=folder, only with to=gedit or kris or rise"),
        ("gedit", {"dataset_id": "a/b"}, "dataset_id has no effect with to=gedit"),
        ("csv", {}, "to=csv writes one file, whose name must end in .csv"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, to, options, words):
    with pytest.raises(UserError, match=words):
        export(ExportOptions("run", to, tmp_path / "out", **options))


def test_the_command_says_where_it_wrote_what_by_the_whole_path(tmp_path, capsys, monkeypatch):
    run_dir = run_of(tmp_path, ["cat"], [8.0])
    monkeypatch.chdir(tmp_path)
    main(ExportOptions(str(run_dir.root), "folder", Path("misspelt") / "out"))
    assert capsys.readouterr().out == f"{tmp_path / 'misspelt' / 'out'}: 1 of 1 samples have a picture here\n"
