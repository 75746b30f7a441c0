"""The verify command: a whole run is found whole, and whatever is done to its files is found and named."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from benchmark_file import write_benchmark
from running import run_phase, run_python

from editbench.errors import UserError
from editbench.report import build_report
from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines
from editbench.verify import verify

FAKES = ["editor=fake", "judge=fake"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of five samples."""
    folder = tmp_path_factory.mktemp("verify")
    write_benchmark(folder / "bench.json", ["物理", "social", "causal", "指代", "环境"], ["a", "b", "c", "d", "e"])
    overrides = [*FAKES, f"dataset.path={folder / 'bench.json'}"]
    for phase in ("edit", "score"):
        run_phase(phase, folder / "run", overrides, world_size=1)
    return folder / "run"


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return RunDir(tmp_path / "run")


def findings(run):
    return {kind: found for kind, found in verify(run).items() if found}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def snapshot(folder: Path):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_whole_run_has_nothing_wrong(run):
    assert findings(run) == {}


def test_the_command_needs_only_the_run_changes_nothing_and_exits_with_0(run):
    before = snapshot(run.root)
    outcome = run_python(["-m", "editbench.verify", f"run_dir={run.root}"], run.root.parent)
    assert outcome.code == 0, outcome.tail
    assert "nothing is missing, damaged, stale or extra" in outcome.output
    assert snapshot(run.root) == before


def test_the_command_exits_with_1_if_anything_is_wrong(run):
    flip(run.edits / "shard-00000.tar", 3000)
    before = snapshot(run.root)
    outcome = run_python(["-m", "editbench.verify", f"run_dir={run.root}"], run.root.parent)
    assert outcome.code == 1
    assert "damaged: " in outcome.output
    assert snapshot(run.root) == before


def test_a_place_without_a_run_is_named(tmp_path):
    outcome = run_python(["-m", "editbench.verify", f"run_dir={tmp_path / 'none'}"], tmp_path)
    assert outcome.code == 2
    assert "there is no run here" in outcome.errors[0]


def test_a_flipped_byte_anywhere_in_a_shard_is_found(run):
    path = run.edits / "shard-00000.tar"
    whole = path.read_bytes()
    used = run.committed_shard_end()[1]
    for at in range(0, used, 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert findings(run).keys() & {"damaged"}, at


def test_a_flipped_byte_in_the_index_or_the_judgments_is_found_with_its_line(run):
    for path in (run.edits_index, run.judgments_of("fake")):
        whole = path.read_bytes()
        flip(path, whole.index(b"\n") + 30)
        assert any(f"{path}, line 2 is damaged" in line for line in findings(run)["damaged"])
        path.write_bytes(whole)


def test_a_missing_shard_is_damage_of_every_image_in_it(run):
    (run.edits / "shard-00000.tar").unlink()
    assert len(findings(run)["damaged"]) == 5


def test_what_is_not_done_yet_is_missing(run):
    lines = run.judgments_of("fake").read_bytes().splitlines(keepends=True)
    run.judgments_of("fake").write_bytes(b"".join(lines[:3]))
    assert len(findings(run)["missing"]) == 2
    run.judgments_of("fake").unlink()
    assert findings(run) == {"missing": ["judgments: the score phase has not been run"]}


def test_images_that_the_index_does_not_know_are_extra_and_their_edits_missing(run):
    lines = run.edits_index.read_bytes().splitlines(keepends=True)
    run.edits_index.write_bytes(b"".join(lines[:4]))
    found = findings(run)
    assert len(found["missing"]) == 1
    assert any("the next start of the edit phase takes it up" in line for line in found["extra"])
    assert any("there is no edited image of it" in line for line in found["extra"])


def test_results_of_other_settings_than_the_run_s_are_stale(run):
    config = run.read_config()
    run.write_config(config | {"seed": 43})
    assert len(findings(run)["stale"]) == 5
    run.write_config(config)
    rubrics = json.loads(json.dumps(config["rubrics"]))
    rubrics["social"]["system_prompt"] = "Another prompt."
    run.write_config(config | {"rubrics": rubrics}, "fake")
    assert findings(run) == {"stale": ["judgment of 'b' by fake"]}
    run.write_config(config | {"judge": config["judge"] | {"name": "another"}}, "another")
    assert findings(run) == {"stale": ["judgment of 'b' by fake"]}  # each judge counts by its own settings


def test_a_score_that_does_not_follow_from_its_answer_is_damage(run):
    judgment = run.read_judgments("fake")["a"]
    lines = JsonLines(run.judgments_of("fake"))
    lines.append(dataclasses.replace(judgment, score=9.5))
    assert findings(run) == {
        "damaged": [f"judgment of 'a' by fake: its score is 9.5, its answer gives {judgment.score}"]
    }
    for state, score in (("unparsed", None), ("scored", 9.5)):
        lines.append(dataclasses.replace(judgment, state=state, score=score, reply="hm", completion="8.250"))
        assert findings(run)["damaged"] == [f"judgment of 'a' by fake: its score is {score}, its answer gives 8.25"]
    lines.append(dataclasses.replace(judgment, state="unparsed", score=None, reply="hm", completion="8 to 9"))
    assert findings(run) == {}
    lines.append(dataclasses.replace(judgment, reply=None, label_probabilities={str(i): 0.1 for i in range(10)}))
    assert findings(run)["damaged"][0].endswith("its answer gives 4.5")
    lines.close()


def test_an_answer_that_holds_a_score_is_not_unparsed(run):
    judgment = run.read_judgments("fake")["a"]
    lines = JsonLines(run.judgments_of("fake"))
    lines.append(dataclasses.replace(judgment, state="unparsed", score=None, reply="no number"))
    assert findings(run) == {}
    lines.append(dataclasses.replace(judgment, state="unparsed", score=None))
    lines.close()
    assert findings(run) == {
        "damaged": [f"judgment of 'a' by fake: its score is None, its answer gives {judgment.score}"]
    }


def test_a_plan_that_was_changed_is_damage_for_verify_and_refused_by_report(run):
    run.plan_file.write_text(run.plan_file.read_text().replace('"social"', '"causal"'))
    assert [line.split(" (")[0] for line in findings(run)["damaged"]] == [
        f"{run.plan_file} is no plan, or no longer the one that was written"
    ]
    with pytest.raises(UserError, match="no longer the one that was written"):
        build_report(run, "fake")


def test_a_file_that_another_process_writes_or_takes_away_meanwhile_is_no_finding(run, monkeypatch):
    (run.edits / ".index.jsonl.0a1b2c3d.tmp").write_text("half")
    listed = Path.glob
    gone = run.edits / "shard-00007.tar"
    monkeypatch.setattr(Path, "glob", lambda path, name: [*listed(path, name), *([gone] if path == run.edits else [])])
    assert findings(run) == {}


def test_samples_that_are_not_planned_any_more_are_extra(run):
    plan = run.read_plan()
    plan.samples.pop()
    run.write_plan(plan)
    assert [line for line in findings(run)["extra"] if "not planned" in line] == ["edit of 'e', which is not planned"]


def test_a_foreign_file_among_the_shards_is_extra(run):
    (run.edits / "notes.txt").write_text("mine")
    assert findings(run) == {"extra": [f"{run.edits / 'notes.txt'} is none of editbench's files"]}


def test_what_the_report_phase_keeps_is_neither_extra_nor_needed(run):
    run_phase("report", run.root, ["judge=fake", "editor=fake"], world_size=1)
    assert run.pictures.exists()
    assert any(run.thumbs.iterdir())
    assert findings(run) == {}
    run.pictures.unlink()
    assert findings(run) == {}
