"""The pass over a run's pictures: each is looked at once, what cannot be read is told, and old thumbnails go."""

import json

import pytest
from benchmark_file import make_picture, png_bytes, write_benchmark
from PIL import Image

from editbench import pictures
from editbench.config.load import load
from editbench.errors import UserError
from editbench.pictures import Looks, look_at
from editbench.plan import ensure_plan
from editbench.report import build_report
from editbench.run.folder import RunDir
from editbench.run.identity import sample_input
from editbench.run.records import Edit
from editbench.run.session import SilentSession
from editbench.run.sinks import EditSink
from editbench.views.markdown import to_markdown

CATEGORIES = ("physical", "social", "physical")


class Run:
    """A run of three samples whose edits are made by hand."""

    def __init__(self, folder, count=3):
        names = [f"s{number}" for number in range(count)]
        write_benchmark(folder / "bench.json", [CATEGORIES[number % 3] for number in range(count)], names)
        self.benchmark = folder / "bench.json"
        self.config = load([f"dataset.path={self.benchmark}", f"run_dir={folder / 'run'}", "judge=fake", "editor=fake"])
        self.dir = RunDir(folder / "run")
        self.plan = ensure_plan(self.config, self.dir)

    def edit(self, number, picture):
        sample = self.plan.samples[number]
        sink = EditSink(self.dir, 64, self.plan.samples, SilentSession())
        edit = Edit(sample.sample_id, sample.category, "edited", "unit", sample_input(sample), 1)
        edit.source_width, edit.source_height = 40, 30
        edit.width, edit.height = picture.size
        sink.handle((edit, png_bytes(picture)))
        sink.close()

    def look(self):
        return look_at(self.dir, self.config)

    def of(self, number):
        return self.looks_of(self.look(), number)

    def looks_of(self, looks, number):
        edit = self.dir.read_edits()[f"s{number}"]
        return looks.of(edit.sample_id, edit.sha256)

    def thumbs(self):
        return sorted(path.name for path in self.dir.thumbs.iterdir())


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture
def counted(monkeypatch):
    """Ids of the samples that are looked at, in this process."""
    looked = []
    real = pictures.look_at_batch

    def look(place, batch):
        looked.extend(task.sample.sample_id for task in batch)
        return real(place, batch)

    monkeypatch.setattr(pictures, "look_at_batch", look)
    return looked


def test_each_edit_gets_figures_and_two_thumbnails(run):
    run.edit(0, make_picture(0))
    run.edit(2, make_picture(9, (1024, 768)))
    looks = run.look()
    assert looks.notes == []
    assert run.looks_of(looks, 0)["pixels"]["no_op"] is True
    assert run.looks_of(looks, 2)["pixels"]["size_changed"] is True
    assert looks.of("s1", None) == {"pixels": None, "thumbs": None, "metrics": None}
    sizes = {}
    for name, path in run.looks_of(looks, 2)["thumbs"].items():
        with Image.open(run.dir.root / path) as thumb:
            sizes[name] = thumb.size
    assert sizes == {"source": (40, 30), "edited": (512, 384)}
    assert len(run.thumbs()) == 4


def test_a_picture_is_looked_at_once(run, counted):
    run.edit(0, make_picture(5))
    first = run.look()
    run.edit(1, make_picture(6))
    second = run.look()
    assert sorted(counted) == ["s0", "s1"]
    assert run.looks_of(second, 0) == run.looks_of(first, 0)
    run.look()
    assert len(counted) == 2


def test_samples_of_one_source_share_its_thumbnail(tmp_path):
    write_benchmark(tmp_path / "bench.json", ["physical", "physical"], ["s0", "s1"])
    records = json.loads((tmp_path / "bench.json").read_bytes())
    records[1]["src_img_b64"] = records[0]["src_img_b64"]
    config = load([f"dataset.path={tmp_path / 'bench.json'}", f"run_dir={tmp_path / 'run'}"])
    (tmp_path / "bench.json").write_text(json.dumps(records))
    run = Run.__new__(Run)
    run.config, run.dir = config, RunDir(tmp_path / "run")
    run.plan = ensure_plan(config, run.dir)
    run.edit(0, make_picture(5))
    run.edit(1, make_picture(6))
    looks = run.look()
    assert run.looks_of(looks, 0)["thumbs"]["source"] == run.looks_of(looks, 1)["thumbs"]["source"]
    assert len(run.thumbs()) == 3


def test_what_no_longer_counts_goes_and_other_files_stay(run, counted):
    run.edit(0, make_picture(5))
    old = run.of(0)["thumbs"]["edited"]
    (run.dir.thumbs / "mine.webp").write_bytes(b"mine")
    run.edit(0, make_picture(6))
    new = run.of(0)["thumbs"]["edited"]
    assert not (run.dir.root / old).exists()
    assert (run.dir.root / new).exists()
    assert "mine.webp" in run.thumbs()
    assert len(run.dir.pictures.read_bytes().splitlines()) == 1
    assert counted == ["s0", "s0"]


def test_a_removed_thumbnail_is_made_again_from_the_figures_there_are(run):
    run.edit(0, make_picture(5))
    before = run.of(0)
    line = run.dir.pictures.read_bytes()
    for path in run.dir.thumbs.iterdir():
        path.unlink()
    assert run.of(0) == before
    assert len(run.thumbs()) == 2
    assert run.dir.pictures.read_bytes() == line


def test_a_damaged_cache_is_made_anew(run, counted):
    run.edit(0, make_picture(5))
    before = run.look()
    run.dir.pictures.write_bytes(run.dir.pictures.read_bytes().replace(b"0", b"1", 1) * 2)
    assert run.look() == before
    assert counted == ["s0", "s0"]


def test_figures_of_other_measures_do_not_count(run, counted, monkeypatch):
    run.edit(0, make_picture(5))
    run.look()
    monkeypatch.setattr(pictures, "VERSION", f"{pictures.VERSION}+")
    assert run.of(0)["pixels"] is not None
    assert counted == ["s0", "s0"]
    assert len(run.dir.pictures.read_bytes().splitlines()) == 1


def test_without_its_dataset_a_run_keeps_its_figures_and_tells_what_is_missing(run):
    run.edit(0, make_picture(5))
    before = run.of(0)
    run.benchmark.unlink()
    run.edit(1, make_picture(6))
    looks = run.look()
    assert run.looks_of(looks, 0) == before
    found = run.looks_of(looks, 1)
    assert found["pixels"] is None
    assert found["thumbs"]["source"] is None
    assert (run.dir.root / found["thumbs"]["edited"]).exists()
    assert len(looks.notes) == 1
    assert looks.notes[0].startswith("pixels: nothing is known of 1 of 2 edits, whose source could not be read (")
    assert "bench.json" in looks.notes[0]


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_measured(run):
    run.edit(0, make_picture(5))
    run.edit(1, make_picture(6))
    edit = run.dir.read_edits()["s0"]
    shard = next(run.dir.edits.glob("shard-*.tar"))
    data = bytearray(shard.read_bytes())
    data[edit.offset + 50] ^= 1
    shard.write_bytes(data)
    looks = run.look()
    assert run.looks_of(looks, 0)["pixels"] is None
    assert run.looks_of(looks, 0)["thumbs"]["edited"] is None
    assert run.looks_of(looks, 1)["pixels"] is not None
    assert [note.partition(" (")[0] for note in looks.notes] == [
        "pixels: nothing is known of 1 of 2 edits, whose edited image could not be read"
    ]


def test_failed_edits_and_those_of_another_instruction_are_not_looked_at(run, counted):
    run.edit(0, make_picture(5))
    edit = run.dir.read_edits()["s0"]
    sink = EditSink(run.dir, 64, run.plan.samples, SilentSession())
    sink.handle((Edit("s1", "social", "edit_failed", "unit", sample_input(run.plan.samples[1]), 1), None))
    edit.input = "of another instruction"
    sink.handle((edit, None))
    sink.close()
    assert run.look() == Looks()
    assert counted == []


def test_processes_find_the_same_as_one(tmp_path, monkeypatch):
    run = Run(tmp_path, count=6)
    for number in range(6):
        run.edit(number, make_picture(number + 3))
    alone = run.look()
    run.dir.pictures.unlink()
    for path in run.dir.thumbs.iterdir():
        path.unlink()
    monkeypatch.setattr(pictures, "_HANDFUL", 0)
    monkeypatch.setattr(pictures, "_BATCH", 2)
    monkeypatch.setattr(pictures.os, "sched_getaffinity", lambda _: {0, 1})
    assert run.look() == alone
    assert len(run.thumbs()) == 12


def test_a_killed_process_is_told(run, monkeypatch):
    for number in range(3):
        run.edit(number, make_picture(number + 3))
    monkeypatch.setattr(pictures, "_HANDFUL", 0)
    monkeypatch.setattr(pictures, "_BATCH", 1)
    monkeypatch.setattr(pictures, "_begin_process", _die)
    monkeypatch.setattr(pictures.os, "sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(UserError, match=r"was killed.*report\.pictures=false"):
        run.look()


def _die():
    import os

    os._exit(9)


def test_the_report_shows_what_the_pixels_say(run):
    run.edit(0, make_picture(0))
    run.edit(1, make_picture(9))
    report = build_report(run.dir, "fake", None, run.look())
    assert report["overall"]["pixels"]["no_op"] | {"interval": None} == {
        "count": 1,
        "of": 2,
        "rate": 0.5,
        "interval": None,
    }
    assert report["categories"]["physical"]["pixels"]["n"] == 1
    assert [sample["pixels"] is not None for sample in report["samples"]] == [True, True, False]
    markdown = to_markdown(report)
    assert "## What the pixels say" in markdown
    assert "| physical | 1 | 1 of 1: 100% (21% to 100%) | – | 1.000 |" in markdown
    json.dumps(report)


def test_a_report_without_the_pass_has_no_such_table(run):
    run.edit(0, make_picture(0))
    report = build_report(run.dir, "fake")
    assert report["overall"]["pixels"] is report["categories"]["physical"]["pixels"] is None
    assert report["samples"][0]["pixels"] is report["samples"][0]["thumbs"] is None
    assert "What the pixels say" not in to_markdown(report)
    assert not run.dir.thumbs.exists()
