"""Masks that records name: read, measured by, carried to tables and gallery, and told where they cannot be had."""

import json
import re

import numpy as np
import pytest
from benchmark_file import make_picture, png_bytes
from PIL import Image
from test_pictures import Run

from editbench.components.load import open_dataset
from editbench.config.load import load
from editbench.datasets.base import BadRecord
from editbench.datasets.masks import UNREADABLE, has_mask, mask_digest, read_mask
from editbench.plan import ensure_plan
from editbench.report import build_report
from editbench.run.records import Sample
from editbench.views.gallery import report_gallery
from editbench.views.html import to_html
from editbench.views.markdown import to_markdown
from editbench.views.report_tables import report_tables

SIZE = (40, 30)


def left_half(size=SIZE):
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


@pytest.fixture
def run(tmp_path):
    """Three samples: the first two with a mask of their left half, the third without any."""
    run = Run(tmp_path)
    records = json.loads(run.benchmark.read_bytes())
    (tmp_path / "masks").mkdir()
    for number in (0, 1):
        records[number]["mask"] = f"masks/{number}.png"
        left_half().save(tmp_path / f"masks/{number}.png")
    run.benchmark.write_text(json.dumps(records))
    run.plan = ensure_plan(run.config, run.dir)
    run.masks = tmp_path / "masks"
    return run


def repainted(number, box):
    picture = make_picture(number)
    picture.paste("white", box)
    return picture


def report_of(run):
    return build_report(run.dir, "fake", None, run.look())


def test_an_edit_is_measured_inside_and_outside_its_mask(run):
    run.edit(0, repainted(0, (0, 0, 20, 30)))
    run.edit(1, repainted(1, (20, 0, 40, 30)))
    run.edit(2, repainted(2, (0, 0, 20, 30)))
    looks = run.look()
    first, second, third = (run.looks_of(looks, number)["pixels"] for number in range(3))
    assert looks.notes == []
    assert first["mask_share"] == second["mask_share"] == 0.5
    assert (first["psnr_outside"], second["psnr_inside"]) == (None, None)
    assert first["psnr_inside"] < 20 and second["psnr_outside"] < 20
    assert not {"mask_share", "psnr_outside", "mask_error"} & third.keys()


def test_tables_and_gallery_tell_identical_from_nothing_there(run):
    run.edit(0, repainted(0, (0, 0, 20, 30)))
    Image.new("L", SIZE, 255).save(run.masks / "1.png")  # all may change
    run.edit(1, repainted(1, (0, 0, 20, 30)))
    report = report_of(run)
    masked = report["overall"]["pixels"]["masked"]
    assert (masked["n"], masked["without_figures"], masked["identical_outside"]) == (2, 0, 1)
    assert masked["psnr_outside"] is None and masked["psnr_inside"] < 20
    assert report["categories"]["physical"]["pixels"]["masked"]["n"] == 1
    gallery = report_gallery(report)
    facts = [dict(zip(gallery["fact_names"], s["facts"], strict=True)) for s in gallery["samples"]]
    assert [f["Outside the mask: PSNR, SSIM"] for f in facts] == ["identical", "no pixels", None]
    assert " dB, " in facts[0]["Inside the mask: PSNR, SSIM"]
    rows = report_tables(report)["masks"].rows
    assert [[row[0].text, row[1].text, row[6].text] for row in rows][-1] == ["All samples", "2", "1"]
    assert "| Category | Measured | PSNR inside, median |" in to_markdown(report)
    assert "Inside and outside the masks" in to_html(report)


def test_a_mask_that_is_not_there_or_has_another_size_costs_its_figures_alone_and_is_counted(run):
    run.edit(0, repainted(0, (0, 0, 20, 30)))
    run.edit(1, repainted(1, (0, 0, 20, 30)))
    (run.masks / "0.png").unlink()
    left_half((20, 30)).save(run.masks / "1.png")
    for _ in range(2):  # from the pictures, and from the figures that are there
        report = report_of(run)
        pixels = [sample["pixels"] for sample in report["samples"][:2]]
        assert "there is no such file" in pixels[0]["mask_error"]
        assert "'masks/1.png' has 20x30 pixels, not 40x30" in pixels[1]["mask_error"]
        assert all(found["psnr"] and "mask_share" not in found for found in pixels)
        assert (
            report["overall"]["pixels"]["masked"] | {"n": 0, "without_figures": 2}
            == report["overall"]["pixels"]["masked"]
        )
        assert any(note.startswith("pixels: 2 edits have no figures inside and outside") for note in report["notes"])
    left_half().save(run.masks / "0.png")
    assert report_of(run)["samples"][0]["pixels"]["mask_share"] == 0.5


def test_a_changed_mask_is_measured_anew(run):
    run.edit(0, repainted(0, (0, 0, 20, 30)))
    assert run.of(0)["pixels"]["mask_share"] == 0.5
    Image.new("L", SIZE, 255).save(run.masks / "0.png")
    assert run.of(0)["pixels"]["mask_share"] == 1.0


@pytest.mark.parametrize("table", ["metadata.jsonl", "some/metadata.jsonl"])
def test_a_table_names_masks_as_it_names_images(tmp_path, table):
    folder = (tmp_path / table).parent
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(png_bytes(make_picture(0)))
    left_half().save(folder / "m.png")
    row = {"file_name": "a.png", "instruction": "Change it", "mask": "m.png"}
    (tmp_path / table).write_text(json.dumps(row))
    config = load(["dataset=folder", f"dataset.path={tmp_path}", f"run_dir={tmp_path / 'run'}", "rubric=general"])
    dataset = open_dataset(config.dataset)
    (record,) = dataset.scan()
    sample = Sample(0, "a", "a", "general", "Change it", "", "", record.locator, record.extra)
    assert has_mask(sample)
    mask = read_mask(dataset, sample, SIZE, (80, 60), config.source)
    assert mask.shape == (60, 80) and mask[:, :40].all() and not mask[:, 40:].any()
    assert np.array_equal(read_mask(dataset, sample, SIZE, SIZE, config.source), mask[::2, ::2])


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (5, "mask is 5, must be the path"),
        (["b.png"], r"mask is \['b.png'\], must"),
        ("no.png", "mask: image 'no.png': there"),
    ],
)
@pytest.mark.parametrize("form", ["json_file", "folder"])
def test_a_mask_that_is_no_path_of_a_file_is_a_bad_record(tmp_path, form, mask, says):
    (tmp_path / "a.png").write_bytes(png_bytes(make_picture(0)))
    row = {"id": "x", "image": "a.png", "instruction": "Change it", "mask": mask}
    row |= {"original_image_path": "a.png", "edit_instruction_en": "Change it", "subset": "general"}
    (tmp_path / "t.json").write_text(json.dumps([row]))
    settings = [
        f"dataset={form}",
        f"dataset.path={tmp_path / 't.json'}",
        f"run_dir={tmp_path / 'run'}",
        "rubric=general",
    ]
    (record,) = open_dataset(load(settings).dataset).scan()
    assert isinstance(record, BadRecord) and re.match(says, record.problem)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "no.png"])
def test_a_mask_outside_the_folder_is_not_read(run, path):
    sample = Sample(0, "a", "a", "physical", "", "", "", [0], {"mask": path})
    assert mask_digest(open_dataset(run.config.dataset), sample) == UNREADABLE
