"""Controls and repeats under torchrun: the same on any number of processes, apart from all means, checked by verify."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_file import make_picture, write_benchmark
from running import CHECKOUT, run_phase

from editbench.judges.base import Request
from editbench.judges.qwen3_vl import Qwen3VLJudge
from editbench.report import build_report
from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines
from editbench.run.records import WRONG_EDITS, Judgment
from editbench.verify import verify

KINDS = (*WRONG_EDITS, "again", "swapped")
DRAWN = ["judge.temperature=0.7", "judge.repeats=2", "judge.batch_size=2", "judge.compare_with_original=true"]


def said(run: RunDir, judge: str) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """All that must not depend on how the phase was started, of the samples and of the controls."""

    def of(judgment: Judgment) -> tuple[Any, ...]:
        return judgment.state, judgment.score, judgment.scores, judgment.replies, judgment.completions, judgment.unit

    judged, controls = run.read_judgments(judge), run.read_controls(judge)
    return {key: of(one) for key, one in judged.items()}, {key: of(one) for key, one in controls.items()}


# The fake judge


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunDir]:
    """A run of five samples, judged by one process; and judged by three, which first had no controls to judge."""
    folder = tmp_path_factory.mktemp("controls")
    write_benchmark(folder / "bench.json", ["物理", "social", "causal", "物理", "环境"])
    overrides = ["editor=fake", "judge=fake", f"dataset.path={folder / 'bench.json'}", *DRAWN]
    run_phase("edit", folder / "one", overrides, world_size=1)
    shutil.copytree(folder / "one", folder / "three")
    run_phase("score", folder / "one", [*overrides, "score.controls=4"], world_size=1)
    run_phase("score", folder / "three", overrides, world_size=1)
    run_phase("score", folder / "three", [*overrides, "score.controls=4"], world_size=3)
    return [RunDir(folder / "one"), RunDir(folder / "three")]


def test_controls_and_repeats_are_the_same_on_one_process_and_on_three(runs: list[RunDir]) -> None:
    one, three = (said(run, "fake") for run in runs)
    assert one == three
    assert len(one[0]) == 5 and Counter(kind for _, kind in one[1]) == dict.fromkeys(KINDS, 4)
    assert all(len(set(replies)) == 2 for _, _, _, replies, _, _ in [*one[0].values(), *one[1].values()])


def test_controls_enter_no_mean_and_have_their_part_of_the_report(runs: list[RunDir]) -> None:
    report = build_report(runs[0], "fake")
    scores = [judgment.score for judgment in runs[0].read_judgments("fake").values()]
    assert report["overall"]["mean"] == pytest.approx(sum(scores) / 5)
    assert (report["overall"]["n"], report["counts"]["planned"], report["counts"]["scored"]) == (5, 5, 5)
    assert (report["phases"]["score"]["samples"], report["phases"]["score"]["controls"]) == (5, 28)
    controls = report["controls"]
    assert [(kind["control"], kind["n"], kind["failed"]) for kind in controls["per_kind"]] == [
        (kind, 4, 0) for kind in WRONG_EDITS
    ]
    assert controls["repeatability"]["n"] == controls["order_bias"]["n"] == 4
    assert len(controls["sentences"]) == 7
    assert json.loads(runs[0].status_file.read_text())["total"] == 5


def test_verify_checks_controls_and_repeats(runs: list[RunDir], tmp_path: Path) -> None:
    shutil.copytree(runs[0].root, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    assert not any(verify(run).values())

    def found_with(path: Path, record: Judgment, **changed: Any) -> list[str]:
        """What is found once a later line says something else of a record."""
        before = path.read_bytes()
        lines = JsonLines(path)
        lines.append(dataclasses.replace(record, **changed))
        lines.close()
        found = [f"{kind}: {line}" for kind, lines in verify(run).items() for line in lines]
        path.write_bytes(before)
        return found

    judgments, controls = run.judgments_of("fake"), run.controls_of("fake")
    judged = run.read_judgments("fake")["00001_social"]
    (found,) = found_with(judgments, judged, replies=["Score: 1.5", judged.replies[1]])
    assert found.startswith("damaged: judgment of '00001_social' by fake: its score is ") and " from [1.5, " in found
    (sample_id, kind), control = next(iter(run.read_controls("fake").items()))
    name = f"control {kind} of {sample_id!r} by fake"
    (found,) = found_with(controls, control, score=9.875)
    assert found.startswith(f"damaged: {name}: its score is 9.875 from ")
    assert found_with(controls, control, unit="other") == [f"stale: {name}"]
    assert found_with(controls, control, image_sha256="0" * 64) == [f"stale: {name}: it is of an earlier image"]
    before = controls.read_bytes()
    controls.unlink()
    missing = verify(run)["missing"]
    assert len(missing) == 28 and name in missing
    controls.write_bytes(before[:40] + b"x" + before[41:])
    assert len(verify(run)["damaged"]) == 1


# Qwen3-VL with random weights


@pytest.mark.usefixtures("tiny_checkpoints")
def test_random_weights_cannot_tell_real_edits_from_anything_and_are_said_not_to(tmp_path: Path) -> None:
    demo = CHECKOUT / "data" / "demo" / "demo.json"
    tiny = ["editor=fake", "judge=tiny", f"dataset.path={demo}"]
    overrides = [*tiny, "limit=6", "judge.batch_size=4", "judge.max_new_tokens=24"]
    run_phase("edit", tmp_path / "pair", overrides, world_size=1)
    shutil.copytree(tmp_path / "pair", tmp_path / "alone")
    for name, world_size in (("pair", 2), ("alone", 1)):
        run_phase("score", tmp_path / name, [*overrides, "score.controls=6"], world_size)
    assert said(RunDir(tmp_path / "pair"), "tiny") == said(RunDir(tmp_path / "alone"), "tiny")
    report = build_report(RunDir(tmp_path / "pair"), "tiny")
    controls = report["controls"]
    assert [kind["n"] for kind in controls["per_kind"]] == [6] * 5
    for kind, sentence in zip(controls["per_kind"], controls["sentences"], strict=False):
        assert kind["told_apart"] is False and kind["interval"][0] <= 0 <= kind["interval"][1]
        assert sentence.startswith("the judge cannot tell real edits from ")
    assert controls["repeatability"]["identical"] == 1.0  # nothing is drawn, and batches change nothing in float32
    assert any("controls do not show that it tells real edits from" in note for note in report["notes"])


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_nonsense"])
def test_replies_that_are_drawn_depend_on_their_request_and_seed_alone(tiny_checkpoints: Path, name: str) -> None:
    torch.set_num_threads(1)
    folder = str(tiny_checkpoints / name)
    judge = Qwen3VLJudge(["cpu"], folder, dtype="float32", max_new_tokens=24, temperature=1.0)
    words = ["You judge.", "Judge this. "]
    requests = [Request(k, words[0], words[1] + "more " * k, (make_picture(k, (64 + 32 * k, 64)),)) for k in range(6)]
    seeds = [101, 2**62 + 3, 7, 8, 9, 10]
    single = [judge.reply(judge.prepare([r]), [seed])[0] for r, seed in zip(requests, seeds, strict=True)]
    assert len(set(single)) == 6
    assert judge.reply(judge.prepare(requests), seeds) == single
    order = [4, 1, 5, 0]
    mixed = judge.reply(judge.prepare([requests[k] for k in order]), [seeds[k] for k in order])
    assert mixed == [single[k] for k in order]
    prepared = judge.prepare(requests[:1])
    drawn = [judge.reply(prepared, [seed])[0] for seed in range(4)]
    assert len(set(drawn)) > 1 and judge.reply(prepared, [3]) == drawn[3:]
    torch.manual_seed(5)  # the process's own generator has no part in it
    assert judge.reply(prepared, [2]) == drawn[2:3]
