"""The public benchmarks, by one override each: small files of their schemas, and real annotations if present."""

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from editbench.components.load import open_dataset
from editbench.config.load import load
from editbench.datasets.base import BadRecord
from editbench.datasets.tables import read_rows
from editbench.plan import ensure_plan
from editbench.run.folder import RunDir

PHOTO = Path(__file__).resolve().parents[2] / "data" / "demo" / "photos" / "coffee.jpg"
PAIR = ("1-1.jpg", "1-2.jpg")
REAL = os.environ.get("EDITBENCH_BENCHMARKS")
needs_real = pytest.mark.skipif(
    not REAL, reason="EDITBENCH_BENCHMARKS names no folder with the benchmarks' own annotations, which are not shipped"
)


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PHOTO, path)


def put_table(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def plan(tmp_path, *overrides):
    config = load([*overrides, "editor=fake", "judge=fake", f"run_dir={tmp_path / 'run'}"])
    return ensure_plan(config, RunDir(tmp_path / "run"))


def found(plan):
    return [(sample.sample_id, sample.category, sample.description) for sample in plan.samples]


# ---- small files of the same schemas ----


def gedit_rows():
    picture = {"bytes": PHOTO.read_bytes(), "path": None}
    rows = [
        {
            "task_type": task,
            "key": f"{number:032x}",
            "instruction": f"{language} {task}",
            "instruction_language": language,
        }
        for number, task in enumerate(["subject-add", "color_alter", "text_change"])
        for language in ("en", "cn")
    ]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = pa.array([picture] * len(rows), image)
    columns = {name: pa.array([row[name] for row in rows]) for name in rows[0]}
    return pa.table(
        columns | {"input_image": pictures, "input_image_raw": pictures, "Intersection_exist": pa.array([True] * 6)}
    )


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
@pytest.mark.parametrize("language", ["en", "cn"])
def test_gedit(tmp_path, ending, language):
    folder = tmp_path / "gedit" / "train"
    folder.mkdir(parents=True)
    if ending == "arrow":
        with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), gedit_rows().schema) as writer:
            writer.write_table(gedit_rows(), max_chunksize=4)
    else:
        pq.write_table(gedit_rows(), folder / "0000.parquet", row_group_size=4)
    made = plan(tmp_path, "dataset=gedit", f"dataset.path={tmp_path / 'gedit'}", f"dataset.language={language}")
    assert found(made) == [
        (f"subject-add/{language}/{0:032x}", "subject_add", ""),
        (f"color_alter/{language}/{1:032x}", "color_alter", ""),
        (f"text_change/{language}/{2:032x}", "text_change", ""),
    ]
    assert [sample.instruction.split()[0] for sample in made.samples] == [language] * 3
    assert made.samples[0].extra == {"Intersection_exist": True, "instruction_language": language}


def test_imgedit(tmp_path):
    for name in ("animal/1.jpg", "style/2.jpg"):
        put(tmp_path / "singleturn" / name)
    rows = {
        "1082": {"id": "animal/1.jpg", "prompt": "Change the shell", "edit_type": "adjust"},
        "7": {"id": "animal/1.jpg", "prompt": "Cut it out", "edit_type": "extract"},
        "673": {"id": "style/2.jpg", "prompt": "As a woodcut", "edit_type": "style"},
    }
    put_table(tmp_path / "basic_edit.json", rows)
    settings = [f"dataset.path={tmp_path / 'basic_edit.json'}", f"dataset.images={tmp_path / 'singleturn'}"]
    made = plan(tmp_path, "dataset=imgedit", *settings)
    assert found(made) == [("1082", "adjust", ""), ("7", "extract", ""), ("673", "style", "")]


def test_imgedit_s_hard_set_in_both_of_its_forms(tmp_path):
    put(tmp_path / "hard" / "000029784.jpg")
    row = {"id": "000029784.jpg", "prompt": "Remove the slice"}
    put_table(tmp_path / "UGE_edit.json", {"1": row})
    settings = [f"dataset.path={tmp_path / 'UGE_edit.json'}", f"dataset.images={tmp_path / 'hard'}"]
    assert found(plan(tmp_path, "dataset=imgedit_uge", *settings)) == [("1", "uge", "")]
    (tmp_path / "hard" / "annotation.jsonl").write_text(json.dumps(row) + "\n")
    made = plan(tmp_path, "dataset=imgedit_uge", f"dataset.path={tmp_path / 'hard'}")
    assert found(made) == [("000029784", "uge", "")]


def test_rise(tmp_path):
    rows = [
        {
            "index": f"{kind}_1",
            "category": kind,
            "instruction": "Draw it a year later",
            "image": f"{kind}_images/1.png",
            "reference": f"A result of {kind}",
        }
        for kind in ("temporal_reasoning", "logical_reasoning")
    ]
    reference = "logical_reasoning_images/1_ref.png"
    rows[1] |= {"reference": None, "reference_img": reference}
    rows.append(rows[1] | {"index": "logical_reasoning_2", "reference_img": None, "reference_txt": "It is 7"})
    for row in rows:
        put(tmp_path / "data" / row["image"])
    put(tmp_path / "data" / reference)
    put_table(tmp_path / "data" / "data_total.json", rows)
    made = plan(tmp_path, "dataset=rise", f"dataset.path={tmp_path / 'data'}")
    assert found(made) == [
        ("temporal_reasoning_1", "temporal_reasoning", "A result of temporal_reasoning"),
        ("logical_reasoning_1", "logical_reasoning", ""),
        ("logical_reasoning_2", "logical_reasoning", "It is 7"),
    ]
    assert [sample.reference for sample in made.samples] == [None, reference, None]
    assert made.samples[1].reference_sha256 == hashlib.sha256(PHOTO.read_bytes()).hexdigest()
    assert all(sample.extra == {} for sample in made.samples)


def test_kris_with_one_source_image_and_with_several(tmp_path):
    row = {"ori_img": "1.png", "gt_img": "", "ins_en": "Add sodium", "explain_en": "It boils"}
    put_table(
        tmp_path / "KRIS" / "chemistry" / "annotation.json",
        {"1": row, "2": row | {"ori_img": "2.jpg", "gt_img": "1.png"}},
    )
    several = row | {"ori_img": list(PAIR)}
    put_table(tmp_path / "KRIS" / "rule-based_reasoning" / "annotation.json", {"1": several, "2": row})
    for name in ("chemistry/1.png", "chemistry/2.jpg", *(f"rule-based_reasoning/{i}" for i in ("1.png", *PAIR))):
        put(tmp_path / "KRIS" / name)
    settings = ["dataset=kris", f"dataset.path={tmp_path / 'KRIS'}"]
    made = plan(tmp_path, *settings)
    assert [sample.source_images for sample in made.samples] == [1, 1, 2, 1]
    assert [sample.reference for sample in made.samples] == [None, "chemistry/1.png", None, None]
    assert made.samples[2].locator == [f"rule-based_reasoning/{name}" for name in PAIR]
    made = plan(tmp_path, *settings, "+dataset.max_images=1", "dataset.on_bad_record=skip")
    assert found(made) == [
        ("chemistry/1", "chemistry", "It boils"),
        ("chemistry/2", "chemistry", "It boils"),
        ("rule-based_reasoning/2", "rule_based_reasoning", "It boils"),
    ]
    assert made.skipped == [
        {
            "index": 2,
            "sample_id": "rule-based_reasoning/1",
            "problem": "has 2 source images, more than dataset.max_images=1",
        }
    ]


def test_imgedit_multi_turn_is_a_chain_for_each_row(tmp_path):
    for folder in ("content_memory", "version_backtrace"):
        put(tmp_path / folder / "7.jpg")
        rows = [{"id": "7.jpg", "turn1": "All green. Add a cup", "turn2": "Add a plate", "turn3": None}]
        put_table(tmp_path / folder / "annotation.json", rows)
    made = plan(tmp_path, "dataset=imgedit_multi", f"dataset.path={tmp_path}")
    assert [(sample.sample_id, sample.follows, sample.category) for sample in made.samples] == [
        ("content_memory/7/1", None, "content_memory"),
        ("content_memory/7/2", "content_memory/7/1", "content_memory"),
        ("version_backtrace/7/1", None, "version_backtrace"),
        ("version_backtrace/7/2", "version_backtrace/7/1", "version_backtrace"),
    ]
    assert made.samples[1].earlier == ["All green. Add a cup"]


# ---- the real annotations, with a photo in the place of every image ----


def read_real(tmp_path, table, dataset, overrides):
    """Copy a table, put a photo in the place of every image it names, and read it."""
    source = Path(REAL or "") / table
    if not source.exists():
        pytest.skip(f"{source} is not there")
    settings = [f"dataset={dataset}", *overrides, "editor=fake", "judge=fake"]
    fields = load([*settings, "dataset.path=x"]).dataset.kwargs["fields"]
    folder = tmp_path / "tables"
    for file in [source] if source.is_file() else source.glob("*/annotation.json"):
        place = folder / (file.name if source.is_file() else file.relative_to(source))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        for row in read_rows(file):
            image = row.get(fields["image"] or "image")
            reference = row.get(fields.get("reference"))
            for name in [*(image if isinstance(image, list) else [image]), *([reference] if reference else [])]:
                if not (place.parent / name).exists():
                    put(place.parent / name)
    path = folder if source.is_dir() else folder / source.name
    config = load([*settings, f"dataset.path={path}"])
    opened = open_dataset(config.dataset)
    records = list(opened.scan())
    good = [record for record in records if not isinstance(record, BadRecord)]
    files = [opened.read(record.locator) for record in (*good[:20], *good[-20:])]
    assert {file for one in files for file in ([one] if isinstance(one, bytes) else one)} <= {PHOTO.read_bytes()}
    known = {name: rubric for rubric, settings in config.rubrics.items() for name in [rubric, *settings.names]}
    problems = Counter(record.problem for record in records if isinstance(record, BadRecord))
    return good, problems, Counter(known[record.category] for record in good)


KRIS_IN_ONE = ["dataset.fields.category=type", "dataset.fields.id=[type,id]"]


@needs_real
@pytest.mark.parametrize(
    ("dataset", "table", "overrides", "good", "bad"),
    [
        ("imgedit", "imgedit/basic_edit.json", [], 737, 0),
        ("imgedit_uge", "imgedit/UGE_edit.json", [], 47, 0),
        ("imgedit_uge", "imgedit/hard/annotation.jsonl", [], 50, 0),
        ("rise", "risebench/data_total.json", [], 64, 0),
        ("imgedit_multi", "imgedit/multiturn", [], 88, 0),
        ("kris", "krisbench/KRIS_Bench", [], 399, 0),
        ("kris", "krisbench/final_data.json", KRIS_IN_ONE, 1267, 0),
        (
            "folder",
            "i2ebench/ColorAlteration.json",
            ["dataset.fields.instruction=ori_exp", "dataset.fields.id=_key", "dataset.fields.category=null"],
            138,
            0,
        ),
        ("imgedit", "imgedit/multiturn/content_memory/annotation.json", [], 0, 10),
    ],
)
def test_every_record_of_the_real_annotations_is_read(tmp_path, dataset, table, overrides, good, bad):
    records, problems, categories = read_real(tmp_path, table, dataset, overrides)
    images = Counter(len(record.locator) for record in records)
    print(f"{dataset} {table}: {len(records)} read, images {dict(images)}, {categories}, {problems}")
    assert (len(records), problems.total()) == (good, bad)
    ids = Counter(record.sample_id for record in records)
    assert all(count == 1 or record.repeat_id for record in records for count in [ids[record.sample_id]])
    assert all("prompt is missing" in problem for problem in problems)
    if dataset == "rise":
        assert all(record.description or record.reference for record in records), "no sample is without its answer"
