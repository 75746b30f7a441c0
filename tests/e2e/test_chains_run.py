"""Chains of three turns on real starts: the same on any number of processes, killed and resumed, failed turns too."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from benchmark_file import make_record
from PIL import Image
from running import Job, run_phase, run_python

from editbench.editors.fake import FakeEditor
from editbench.images import decode_rgb
from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines
from editbench.run.shards import read_edited
from editbench.run.thumbs import source_names

SETTINGS = ["judge=fake", "judge.compare_with_original=true", "score.controls=2", "max_failed=1"]
CHAINS = ("a", "b", "c", "d")
FAILING = "b2"

REFUSING = """
from editbench.editors.fake import FakeEditor


class RefusingEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        if instruction == "refuse":
            raise RuntimeError("no")
        return super().edit(source, instruction, seed, on_step)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four chains of three turns, turn by turn, and two samples of their own; one turn is refused by the editor."""
    path = tmp_path_factory.mktemp("chains") / "bench.json"
    records: list[dict[str, Any]] = []
    for turn in (1, 2, 3):
        for number, chain in enumerate(CHAINS):
            made = make_record(number + 10 * turn, "物理", f"{chain}{turn}")
            records.append(made if turn == 1 else made | {"src_img_b64": None, "follows": f"{chain}{turn - 1}"})
        records.append(make_record(90 + turn, "社会", f"alone{turn}"))
    next(made for made in records if FAILING in made["original_image_path"])["edit_instruction_en"] = "refuse"
    path.write_text(json.dumps(records), encoding="utf-8")
    (path.parent / "refusing.py").write_text(REFUSING, encoding="utf-8")
    return path


def settings(bench: Path, *more: str) -> list[str]:
    return [
        "dataset=json_file",
        f"dataset.path={bench}",
        "editor=fake",
        "editor._target_=refusing.RefusingEditor",
        *SETTINGS,
        *more,
    ]


def results(run_dir: Path) -> dict[str, Any]:
    """All that must not depend on how the run was started; every image is read and checked on the way."""
    run = RunDir(run_dir)
    edits = run.read_edits()
    for edit in edits.values():
        if edit.sha256:
            read_edited(run.edits, edit)
    judged = [*run.read_judgments("fake").values(), *run.read_controls("fake").values()]
    return {
        "edits": {i: (e.state, e.sha256, e.follows_sha256, e.error_type) for i, e in edits.items()},
        "judgments": {(j.sample_id, getattr(j, "control", "")): (j.state, j.score, j.unit) for j in judged},
    }


@pytest.fixture(scope="module")
def untouched(bench: Path) -> Path:
    """The run on one process."""
    run = bench.parent / "untouched"
    for phase in ("edit", "score", "report"):
        run_phase(phase, run, settings(bench), world_size=1)
    return run


def test_each_turn_is_the_edit_of_the_result_before_to_the_pixel(untouched: Path) -> None:
    run = RunDir(untouched)
    edits, plan = run.read_edits(), run.read_plan()
    assert plan is not None
    for sample in plan.samples:
        if sample.follows and edits[sample.sample_id].sha256:
            before, edit = edits[sample.follows], edits[sample.sample_id]
            source = decode_rgb(read_edited(run.edits, before))
            again = FakeEditor("cpu").edit(source, sample.instruction, edit.seed, lambda _done, _total: None)
            assert again.tobytes() == decode_rgb(read_edited(run.edits, edit)).tobytes()
            assert edit.follows_sha256 == before.sha256
    assert edits[FAILING].error_type == "RuntimeError" and edits["b1"].state == "edited"
    assert (edits["b3"].state, edits["b3"].error_type) == ("edit_failed", "EarlierTurnError")
    assert sum(edit.state == "edited" for edit in edits.values()) == len(plan.samples) - 2
    assert set(run.read_judgments("fake")) == set(edits) - {FAILING, "b3"}


def test_the_report_tells_the_turns_apart_and_shows_each_beside_its_own_source(untouched: Path) -> None:
    report = json.loads((untouched / "report.json").read_text(encoding="utf-8"))
    counts = {turn: (found["counts"]["planned"], found["counts"]["scored"]) for turn, found in report["turns"].items()}
    assert counts == {"1": (4, 4), "2": (4, 3), "3": (4, 3)}
    samples = {sample["sample_id"]: sample for sample in report["samples"]}
    run = RunDir(untouched)
    plan = {sample.sample_id: sample for sample in run.read_plan().samples}
    before = run.read_edits()["a1"]
    assert samples["a2"]["thumbs"]["source"] == f"thumbs/{source_names(plan['a2'], before)[0]}"
    shown = Image.open(untouched / samples["a2"]["thumbs"]["source"]).convert("RGB").tobytes()
    assert shown == Image.open(untouched / samples["a1"]["thumbs"]["edited"]).convert("RGB").tobytes()
    assert {samples[name]["source"] for name in ("a1", "a2", "a3")} == {samples["a1"]["source"]}
    assert (samples["a3"]["follows"], samples["a3"]["turn"], "turn" in samples["a1"]) == ("a2", 3, False)
    for name in ("report.md", "report.html"):
        assert "turn" in (untouched / name).read_text(encoding="utf-8")
    checked = run_python(["-m", "editbench.verify", f"run_dir={untouched}"], untouched.parent)
    assert checked.code == 0, checked.tail


@pytest.mark.parametrize("schedule", ["strided", "dynamic"])
def test_three_processes_make_the_same_whatever_the_schedule(bench: Path, untouched: Path, schedule: str) -> None:
    run = bench.parent / f"three-{schedule}"
    for phase in ("edit", "score"):
        run_phase(phase, run, settings(bench, f"edit.schedule={schedule}"), world_size=3)
    assert results(run) == results(untouched)


@pytest.mark.parametrize(
    ("first", "then", "schedule"), [pytest.param(3, 1, "strided", marks=pytest.mark.slow), (1, 3, "dynamic")]
)
def test_a_killed_run_goes_on_within_its_chains_and_ends_the_same(
    bench: Path, untouched: Path, first: int, then: int, schedule: str
) -> None:
    run = bench.parent / f"killed-{first}-{then}"
    index = RunDir(run).edits_index
    slow = settings(bench, "editor.latency_s=0.2", f"edit.schedule={schedule}")
    with Job("edit", run, slow, first) as job:
        assert job.wait_until(lambda: index.exists() and index.read_bytes().count(b"\n") >= 5)
        job.kill(*job.family())
    there = {edit.sample_id for edit in RunDir(run).read_edits().values()}
    assert 5 <= len(there) < 15
    for phase in ("edit", "score"):
        run_phase(phase, run, slow, then)
    assert results(run) == results(untouched)
    assert len(RunDir(run).read_edits()) == index.read_bytes().count(b"\n"), "nothing was edited twice"


def test_a_signal_ends_a_chain_between_its_turns_and_the_next_start_goes_on(bench: Path, untouched: Path) -> None:
    run = bench.parent / "preempted"
    index = RunDir(run).edits_index
    slow = settings(bench, "editor.latency_s=0.3", "edit.sync_every=1")
    with Job("edit", run, slow, 1) as job:
        assert job.wait_until(lambda: index.exists() and index.read_bytes().count(b"\n") >= 1)
        job.workers()[0].send_signal(signal.SIGUSR1)
        job.wait()
    assert set(RunDir(run).read_edits()) < {"a1", "a2", "a3"}, "the first chain was not gone through to its end"
    for phase in ("edit", "score"):
        run_phase(phase, run, slow, 1)
    assert results(run) == results(untouched)


def test_verify_finds_an_edit_that_was_made_of_another_image(untouched: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    for path in untouched.rglob("*"):
        if path.is_file() and path.name != ".lock":
            target = run.root / path.relative_to(untouched)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    edits = run.read_edits()
    edits["c3"].follows_sha256 = edits["a2"].sha256
    lines = JsonLines(run.edits_index)
    lines.append(edits["c3"])
    lines.close()
    checked = run_python(["-m", "editbench.verify", f"run_dir={run.root}"], untouched.parent)
    assert checked.code == 1
    assert "stale: 1" in checked.output and "edit of 'c3'" in checked.output, checked.tail
