"""Whole runs under torchrun, on the fakes: what a user starts, and what lies in the run folder afterwards."""

import io
import json
import random
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from benchmark_file import write_benchmark
from PIL import Image
from running import run_phase, run_python, torchrun

from editbench.editors.fake import FakeEditor
from editbench.judges.labels import read_labels
from editbench.run.folder import RunDir
from editbench.run.identity import sample_seed
from editbench.run.shards import read_image

FAKES = ["editor=fake", "judge=fake"]
CHINESE = {"物理": "physical", "环境": "environmental", "社会": "social", "因果": "causal", "指代": "referential"}
STATISTICS = ("mean", "std", "median", "min", "max")


def read_report(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "report.json").read_text(encoding="utf-8"))


def results(run_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that must not depend on how the run was started: digests of the pictures, and what the judge said."""
    run = RunDir(run_dir)
    edits = {edit.sample_id: (edit.state, edit.sha256, edit.seed, edit.error) for edit in run.read_edits().values()}
    for edit in run.read_edits().values():
        if edit.sha256 is not None:
            read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
    judged = run.read_judgments("fake").values()
    return edits, {j.sample_id: (j.state, j.score, j.reply, j.completion, j.image_sha256) for j in judged}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of 20 samples, 4 in each category."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    write_benchmark(path, list(CHINESE) * 4)
    return path


@pytest.fixture(scope="module")
def alone(bench: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of one process, started once."""
    overrides = [*FAKES, f"dataset.path={bench}"]
    for phase in ("edit", "score"):
        run_phase(phase, bench.parent / "alone", overrides, world_size=1)
    return results(bench.parent / "alone")


def test_270_samples_go_through_all_phases_on_6_processes(tmp_path: Path) -> None:
    sizes = dict(zip(CHINESE, (50, 50, 54, 58, 58), strict=True))
    shuffler = random.Random(7)
    categories = [name for name, size in sizes.items() for _ in range(size)]
    shuffler.shuffle(categories)
    ids = [f"{number:05d}_图 {category}" for number, category in enumerate(categories)]
    shuffler.shuffle(ids)
    write_benchmark(tmp_path / "bench.json", categories, ids, size=(96, 72))
    overrides = [*FAKES, f"dataset.path={tmp_path / 'bench.json'}", "edit.shard_size_mib=1"]
    run_dir = tmp_path / "run"
    for phase in ("edit", "score", "report"):
        run_phase(phase, run_dir, overrides, world_size=6)

    report = read_report(run_dir)
    counts = {"planned": 270, "edited": 270, "scored": 270, "edit_failed": 0, "judge_failed": 0, "unparsed": 0}
    assert report["counts"].items() >= counts.items()
    assert {name: section["counts"]["scored"] for name, section in report["categories"].items()} == {
        CHINESE[name]: size for name, size in sizes.items()
    }
    assert [sample["sample_id"] for sample in report["samples"]] == ids
    assert [sample["category"] for sample in report["samples"]] == [CHINESE[name] for name in categories]
    assert report["overall"]["n"] == 270

    edit_session, score_session = RunDir(run_dir).read_sessions()
    assert (edit_session["phase"], edit_session["rounds"], edit_session["world_size"]) == ("edit", 45, 6)
    assert (score_session["phase"], score_session["samples"], score_session["world_size"]) == ("score", 270, 6)

    edits = RunDir(run_dir).read_edits()
    assert set(edits) == set(ids)
    for edit in edits.values():
        png = read_image(run_dir / "edits", edit.shard, edit.offset, edit.length, edit.sha256)
        assert Image.open(io.BytesIO(png)).size == (edit.width, edit.height) == (96, 72)
    shards = sorted((run_dir / "edits").glob("shard-*.tar"))
    assert len(shards) > 1
    members = Counter()
    for shard in shards:
        with tarfile.open(shard) as tar:
            members.update(member.name.rsplit(".", 1)[1] for member in tar)
    assert members == {"png": 270, "json": 270}


@pytest.mark.parametrize(("world_size", "sync_every"), [pytest.param(2, 0, marks=pytest.mark.slow), (6, 3)])
def test_neither_processes_nor_synchronization_change_a_picture_or_a_judgment(
    bench: Path, tmp_path: Path, alone: tuple[dict[str, Any], dict[str, Any]], world_size: int, sync_every: int
) -> None:
    overrides = [*FAKES, f"dataset.path={bench}", f"edit.sync_every={sync_every}"]
    for phase in ("edit", "score"):
        run_phase(phase, tmp_path / "run", overrides, world_size)
    assert len(alone[0]) == len(alone[1]) == 20
    assert results(tmp_path / "run") == alone


def test_a_run_in_mode_expected_says_so_and_its_scores_follow_from_what_it_keeps(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "bench.json", list(CHINESE))
    listed = "judge.replies=['7',none,'0','9','3']"
    overrides = [*FAKES, f"dataset.path={tmp_path / 'bench.json'}", "judge.mode=expected", listed]
    run_dir = tmp_path / "run"
    for phase in ("edit", "score", "report"):
        run_phase(phase, run_dir, overrides)
    report = read_report(run_dir)
    assert [sample["score"] for sample in report["samples"]] == [7, None, 0, 9, 3]
    assert report["counts"].items() >= {"scored": 4, "unparsed": 1, "judge_failed": 0}.items()
    assert (report["judge"]["mode"], report["judge"]["min_label_mass"]) == ("expected", 0.5)
    shown = (run_dir / "report.md").read_text(encoding="utf-8")
    assert "- mode: expected" in shown and "the labels have 0 of the probability" in shown
    for judgment in RunDir(run_dir).read_judgments("fake").values():
        again = read_labels(list(judgment.label_probabilities.values()), report["judge"]["labels"], 0.5)
        assert (again.score, again.spread) == (judgment.score, judgment.spread)
        assert (again.label, again.mass, judgment.reply) == (judgment.label, judgment.label_mass, None)
    assert run_python(["-m", "editbench.verify", f"run_dir={run_dir}"], tmp_path).code == 0


def test_a_partial_run_goes_on_at_another_world_size_with_exactly_what_is_missing(
    bench: Path, tmp_path: Path, alone: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    run_dir = tmp_path / "run"
    overrides = [*FAKES, f"dataset.path={bench}"]
    for phase, world_size in (("edit", 3), ("score", 2)):
        run_phase(phase, run_dir, [*overrides, "limit=7"], world_size)
    for phase, world_size in (("edit", 2), ("score", 3)):
        run_phase(phase, run_dir, overrides, world_size)
    samples = {}
    for session in RunDir(run_dir).read_sessions():
        samples.setdefault(session["phase"], []).append(session["samples"])
    assert samples == {"edit": [7, 13], "score": [7, 13]}
    for lines in (run_dir / "edits" / "index.jsonl", run_dir / "judgments" / "fake.jsonl"):
        ids = [json.loads(line)["sample_id"] for line in lines.read_text(encoding="utf-8").splitlines()]
        assert len(ids) == len(set(ids)) == 20
    assert results(run_dir) == alone

    again = run_python(["-m", "editbench.edit", f"run_dir={run_dir}", *overrides], tmp_path)
    assert again.code == 0 and "nothing is left to edit" in again.output, again.tail
    assert len(RunDir(run_dir).read_sessions()) == 4


NONSENSE = [
    "The shadows look convincing and the cat is still there.",
    "8-9",
    "Score: 11",
    "I would give it a NaN.",
]
"""One for each sample of a category that is to end without a score."""


def test_neither_a_failed_edit_nor_a_nonsense_reply_gets_a_number(bench: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    replies = [NONSENSE[number // 5] if number % 5 in (0, 2) else f"Score: {number % 10}" for number in range(20)]
    overrides = [
        *FAKES,
        f"dataset.path={bench}",
        "editor.fail_every=3",
        "max_failed=1",
        f"judge.replies={json.dumps(replies)}",
    ]
    for phase in ("edit", "score", "report"):
        run_phase(phase, run_dir, overrides)

    samples = RunDir(run_dir).read_plan().samples
    states = {}
    for sample, reply in zip(samples, replies, strict=True):
        seed = sample_seed(42, sample.sample_id)
        try:
            FakeEditor("cpu", fail_every=3).edit(Image.new("RGB", (1, 1)), sample.instruction, seed, lambda *_: None)
            states[sample.sample_id] = "unparsed" if reply in NONSENSE else "scored"
        except RuntimeError:
            states[sample.sample_id] = "edit_failed"
    counted = Counter(states.values())
    assert min(counted["edit_failed"], counted["unparsed"], counted["scored"]) >= 4

    report = read_report(run_dir)
    assert {sample["sample_id"]: sample["state"] for sample in report["samples"]} == states
    for sample, reply in zip(report["samples"], replies, strict=True):
        assert sample["score"] == (float(reply[-1]) if states[sample["sample_id"]] == "scored" else None)
    assert report["counts"].items() >= {"planned": 20, "edited": 20 - counted["edit_failed"], **counted}.items()
    scores = [sample["score"] for sample in report["samples"] if sample["score"] is not None]
    assert report["overall"]["n"] == len(scores) == counted["scored"]
    assert report["overall"]["mean"] == pytest.approx(sum(scores) / len(scores))
    for category in ("physical", "social"):
        section = report["categories"][category]
        assert [section[name] for name in STATISTICS] == [None] * 5
        assert (section["n"], section["counts"]["scored"], section["counts"]["planned"]) == (0, 0, 4)
    assert {report["best_category"], report["worst_category"]}.isdisjoint({"physical", "social"})

    edits, judged = results(run_dir)
    assert set(judged) == {sample_id for sample_id, state in states.items() if state != "edit_failed"}
    for sample_id, (state, score, reply, completion, _) in judged.items():
        assert (state, score is None) == (states[sample_id], state == "unparsed")
        if state == "unparsed":
            assert completion == reply and reply in NONSENSE  # the fake says the same once more, both are kept
    for sample_id, (state, sha256, _, error) in edits.items():
        failed = states[sample_id] == "edit_failed"
        assert (state == "edit_failed", sha256 is None, error is not None) == (failed,) * 3


def test_more_failures_than_max_failed_stop_the_run_with_one_sentence(bench: Path, tmp_path: Path) -> None:
    overrides = ["editor.fail_every=1", "max_failed=0.1", "edit.sync_every=0", f"run_dir={tmp_path}/run"]
    arguments = ["-m", "editbench.edit", *FAKES, f"dataset.path={bench}", *overrides]
    outcome = torchrun(3, arguments, tmp_path, timeout_s=60)
    assert outcome.code != 0
    (said,) = outcome.errors
    assert "3 of 20 samples failed in phase edit, more than max_failed=0.1 allows" in said, outcome.tail
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"
    assert not any(edit.sha256 for edit in RunDir(tmp_path / "run").read_edits().values())


def test_a_dry_run_prints_the_plan_and_creates_nothing(bench: Path, tmp_path: Path) -> None:
    arguments = [*FAKES, f"dataset.path={bench}", "run_dir=here/run", "dry_run=true"]
    outcome = torchrun(3, ["-m", "editbench.edit", *arguments], tmp_path)
    assert outcome.code == 0, outcome.tail
    for said in ("20 samples planned", "physical", "20 samples to edit on 3 ranks", "FakeEditor", "here/run"):
        assert said in outcome.output, outcome.tail
    for phase in ("score", "report", "plan"):
        outcome = run_python(["-m", f"editbench.{phase}", *arguments], tmp_path)
        assert outcome.code == 0, outcome.tail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("phase", "override", "said"),
    [
        ("edit", "edit.sink_every=1", "did you mean 'edit.sync_every'?"),
        ("edit", "dataset.path=missing.json", "dataset.path=missing.json: there is no such file"),
        ("score", "limit=3", "nothing was edited here; run the edit phase first"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_else(
    bench: Path, tmp_path: Path, phase: str, override: str, said: str
) -> None:
    arguments = ["-m", f"editbench.{phase}", *FAKES, f"dataset.path={bench}", f"run_dir={tmp_path}/run", override]
    outcome = torchrun(3, arguments, tmp_path, timeout_s=60)
    assert outcome.code != 0
    (line,) = outcome.errors
    assert said in line
    ours = outcome.output[: outcome.output.index("torch/distributed/elastic")]
    assert "Traceback" not in ours, outcome.tail
