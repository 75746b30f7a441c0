"""Runs on samples with one, two and five source images, on the fakes and on a tiny editor that takes a list."""

import base64
import json
from pathlib import Path

import pytest
from benchmark_file import make_picture, make_record, png_bytes
from PIL import Image
from running import run_phase, run_python

from editbench.editors.diffusers_pipeline import DiffusersEditor
from editbench.run.folder import RunDir
from editbench.run.thumbs import source_names

TEXTS = [base64.b64encode(png_bytes(make_picture(n, (40 + n, 30)))).decode() for n in range(5)]
COUNTS = [1, 2, 5, 2, 1]
SETTINGS = ["editor=fake", "judge=fake", "judge.compare_with_original=true", "score.controls=2"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark whose samples have so many images."""
    path = tmp_path_factory.mktemp("several") / "bench.json"
    made = [make_record(n, "物理", f"s{n}") | {"src_img_b64": TEXTS[:count]} for n, count in enumerate(COUNTS)]
    path.write_text(json.dumps(made), encoding="utf-8")
    return path


def results(run_dir: Path) -> tuple[object, object]:
    run = RunDir(run_dir)
    judged = [*run.read_judgments("fake").values(), *run.read_controls("fake").values()]
    return (
        {i: (edit.state, edit.unit, edit.sha256) for i, edit in run.read_edits().items()},
        {(j.sample_id, getattr(j, "control", "")): (j.state, j.score, j.unit) for j in judged},
    )


@pytest.fixture(scope="module")
def runs(bench: Path) -> list[Path]:
    """The same run on one process and on two."""
    folders = []
    for world_size in (1, 2):
        run = bench.parent / f"run-{world_size}"
        for phase in ("edit", "score", "report"):
            run_phase(phase, run, ["dataset=json_file", f"dataset.path={bench}", *SETTINGS], world_size)
        folders.append(run)
    return folders


def test_samples_with_several_images_are_edited_and_judged_the_same_on_any_number_of_processes(
    runs: list[Path],
) -> None:
    one, two = map(results, runs)
    assert one == two
    edits, judged = one
    assert {state for state, _, _ in edits.values()} == {"edited"} and len(edits) == len(COUNTS)
    assert len({sha256 for _, _, sha256 in edits.values()}) == len(COUNTS)
    assert all(state == "scored" for state, _, _ in judged.values()) and ("s2", "") in judged
    checked = run_python(["-m", "editbench.verify", f"run_dir={runs[0]}"], runs[0].parent)
    assert checked.code == 0, checked.tail


def test_the_report_shows_all_sources_and_measures_against_the_first(runs: list[Path]) -> None:
    report = json.loads((runs[0] / "report.json").read_text(encoding="utf-8"))
    plan = RunDir(runs[0]).read_plan()
    assert plan is not None
    for sample, planned in zip(report["samples"], plan.samples, strict=True):
        names = [f"thumbs/{name}" for name in source_names(planned)]
        thumbs = sample["thumbs"]
        assert [thumbs["source"], *thumbs.get("more_sources", [])] == names and len(names) == planned.source_images
        for number, name in enumerate(names):
            assert Image.open(runs[0] / name).size == (40 + number, 30)
        assert sample["source_size"] == [40, 30] and sample["pixels"]["size_changed"] is False
        assert sample.get("source_images", 1) == planned.source_images
    page = (runs[0] / "report.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert [len(sample.get("more_sources", [])) for sample in data["samples"]] == [count - 1 for count in COUNTS]


@pytest.fixture(scope="module")
def tiny_plus(tiny_checkpoints: Path) -> DiffusersEditor:
    return DiffusersEditor(
        device="cpu",
        pipeline="QwenImageEditPlusPipeline",
        checkpoint=str(tiny_checkpoints / "qwen_image_edit_plus"),
        dtype="float32",
        images="list",
        area=160 * 96,
        num_inference_steps=2,
        negative_prompt=" ",
        true_cfg_scale=4.0,
    )


def test_a_plus_pipeline_gets_the_list_and_makes_the_shape_of_the_first(
    tiny_plus: DiffusersEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, tall = make_picture(1, (200, 120)), make_picture(2, (60, 120))
    shown = []
    encode = tiny_plus._pipe.encode_prompt
    monkeypatch.setattr(
        tiny_plus._pipe,
        "encode_prompt",
        lambda *args, **kwargs: shown.append(kwargs["image"]) or encode(*args, **kwargs),
    )

    def edit(*sources: Image.Image) -> Image.Image:
        return tiny_plus.edit_several(list(sources), "put the second beside the first", 7, lambda _done, _total: None)

    both, turned = edit(wide, tall), edit(tall, wide)
    assert both.size == (160, 96) and turned.size[0] < turned.size[1]
    assert both.tobytes() == edit(wide, tall).tobytes() != edit(wide, wide).tobytes()
    assert {len(images) for images in shown} == {2}
