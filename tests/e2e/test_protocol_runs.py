"""Whole runs under each benchmark's protocol with the fakes: scores by hand, figures, coverage, resuming, verifying."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from benchmark_file import make_record, write_benchmark
from running import run_python

from editbench.config.schema import ReportConfig
from editbench.report import build_report, write_report
from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines
from editbench.verify import verify

CATEGORIES = {
    "gedit": ["ps_human", "subject-add", "ps_human", "text_change"],
    "imgedit": ["add", "style", "add", "uge"],
    "kris": ["physics", "count_change", "multi-element_composition", "physics"],
    "rise": ["logical_reasoning", "causal_reasoning", "spatial_reasoning", "temporal_reasoning"],
}


NOTHING = {"missing": [], "damaged": [], "stale": [], "extra": []}
"""What `verify` finds in a whole run."""


def phase(name, folder, *overrides):
    outcome = run_python(["-m", f"editbench.{name}", f"run_dir={folder}", *overrides], folder.parent)
    assert outcome.code == 0, outcome.tail
    return outcome


def settings(folder, name):
    return ["editor=fake", "judge=fake", f"rubric={name}", f"protocol={name}", f"dataset.path={folder / 'bench.json'}"]


def write(folder, name):
    """Four samples; of RISE's the last is one whose consistency is not judged."""
    if name != "rise":
        write_benchmark(folder / "bench.json", CATEGORIES[name], list("abcd"))
        return
    records = [make_record(number, category, "abcd"[number]) for number, category in enumerate(CATEGORIES[name])]
    records[3]["consistency_free"] = True
    (folder / "bench.json").write_text(json.dumps(records))


@pytest.fixture(scope="module", params=CATEGORIES)
def whole(request, tmp_path_factory):
    """A finished run, and its protocol's name."""
    folder = tmp_path_factory.mktemp(request.param)
    write(folder, request.param)
    for name in ("edit", "score"):
        phase(name, folder / "run", *settings(folder, request.param))
    return folder / "run", request.param


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    return RunDir(tmp_path / "run"), whole[1]


def by_hand(name, category, n):
    """A sample's score from the numbers of its judgment, as the benchmark defines it."""
    if name == "gedit":
        return math.sqrt(min(n["success"], n["restraint"]) * min(n["naturalness"], n["cleanness"]))
    if name == "imgedit":
        return n["hard_edit"] if category == "uge" else (n["compliance"] + n["naturalness"] + n["detail"]) / 3
    if name == "kris":
        return fmean((value - 1) * 25 for value in n.values())
    if category == "logical_reasoning":
        reasoning = 4 * n["solved"] + 1
        score = 0.3 * (4 * n["kept"] + 1) + 0.7 * reasoning
    else:
        reasoning, kept = n["reasoned"], n.get("appearance")
        weights = (0.8, 0) if kept is None else (0.5, 0.3)
        score = weights[0] * reasoning + weights[1] * (kept or 0) + 0.2 * n["plausible"]
    return score if reasoning > 1 else max(1, score / 2)


def numbers_of(judgment):
    return {key: value for answer in judgment.answers[0].values() for key, value in answer["numbers"].items()}


def test_every_sample_is_judged_under_its_criteria_and_scored_as_the_benchmark_defines_it(whole):
    folder, name = whole
    judgments = RunDir(folder).read_judgments("fake")
    asked = {sample_id: list(judgment.answers[0]) for sample_id, judgment in judgments.items()}
    assert len(asked) == 4
    for judgment in judgments.values():
        assert judgment.state == "scored" and judgment.reply is None and len(judgment.answers) == 1
        expected = by_hand(name, judgment.category, numbers_of(judgment))
        assert judgment.score == judgment.named_scores["score"] == pytest.approx(expected, abs=1e-6)
    if name == "kris":
        assert asked["a"] == ["visual_consistency", "visual_quality", "knowledge"]
        assert asked["b"] == ["visual_consistency", "visual_quality", "instruction_following"]
    if name == "rise":
        assert asked["a"] == ["puzzle_consistency", "puzzle_solution"]
        assert asked["b"] == ["appearance_consistency", "reasoning", "visual_plausibility"]
        assert asked["d"] == ["reasoning", "visual_plausibility"]


def test_the_benchmark_s_figure_is_put_together_as_it_defines_and_stands_beside_its_coverage(run):
    folder, name = run
    judgments = folder.read_judgments("fake")
    scores = {sample_id: judgment.score for sample_id, judgment in judgments.items()}
    wanted = {
        "gedit": (fmean([fmean([scores["a"], scores["c"]]), scores["b"], scores["d"]]), 4, 3, 11),
        "imgedit": (fmean([fmean([scores["a"], scores["c"]]), scores["b"]]), 3, 2, 9),
        "kris": (fmean((value - 1) * 25 for one in judgments.values() for value in numbers_of(one).values()), 4, 3, 20),
        "rise": (25.0 * sum(one.named_scores.get("all_right") == 100 for one in judgments.values()), 4, 4, 4),
    }[name]
    report = build_report(folder, "fake", ReportConfig(published=True))
    first = report["official"]["figures"][0]
    found = (first["value"], first["scored"], first["categories"], first["categories_planned"])
    assert found == (pytest.approx(wanted[0]), *wanted[1:])
    path = write_report(folder, report)
    markdown, page = path.read_text(), path.with_suffix(".html").read_text()
    for text in (markdown, page):
        assert f"rests on {first['scored']} of {first['planned']} planned samples" in text
        assert "Published elsewhere, not measured here" in text and "README" in text
        assert "own prompts, not the benchmark" in text
    low, high = {"gedit": (0, 10), "imgedit": (1, 5), "kris": (0, 100), "rise": (1, 5)}[name]
    assert f"Scores from {low} to {high}" in page and report["scale"] == [low, high]
    assert build_report(folder, "fake")["official"]["published"] is None


def test_the_report_command_says_it_on_the_console(run):
    folder, name = run
    outcome = phase("report", folder.root, "judge=fake", "report.published=true", "report.pictures=false")
    assert f"Protocol {name}, with editbench's own prompts" in outcome.output.replace("\n", " ")
    assert "published elsewhere" in outcome.output


def test_a_resumed_run_judges_what_is_missing_and_nothing_anew(whole, tmp_path):
    folder, name = whole
    shutil.copytree(folder, tmp_path / "run")
    file = tmp_path / "run" / "judgments" / "fake.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]))
    phase("score", tmp_path / "run", *settings(folder.parent, name))
    assert file.read_text().splitlines(keepends=True)[:2] == lines[:2]
    before, after = (RunDir(root).read_judgments("fake") for root in (folder, tmp_path / "run"))
    for sample_id, judgment in after.items():
        assert dataclasses.replace(judgment, latency_s=None) == dataclasses.replace(before[sample_id], latency_s=None)
    assert verify(RunDir(tmp_path / "run")) == NOTHING


def test_verify_finds_a_reply_a_number_a_score_and_a_criterion_that_were_changed(run):
    folder, _ = run
    judgment = folder.read_judgments("fake")["b"]
    (answers,) = judgment.answers
    name = list(answers)[-1]
    reply = answers[name]["reply"]
    label = reply.partition(":")[0]
    gone = {key: answer for key, answer in answers.items() if key != name}
    changes = {
        "score": {"score": judgment.score + 0.5},
        "named": {"named_scores": judgment.named_scores | {"score": 0.0}},
        "numbers": {"answers": [answers | {name: answers[name] | {"numbers": None}}]},
        "reply": {"answers": [answers | {name: answers[name] | {"reply": f"{label}: no number"}}]},
        "criterion": {"answers": [gone]},
        "unparsed": {"state": "unparsed", "score": None},
    }
    lines = JsonLines(folder.judgments_of("fake"))
    for change in changes.values():
        lines.append(dataclasses.replace(judgment, **change))
        (found,) = verify(folder)["damaged"]
        assert found.startswith("judgment of 'b' by fake: ")
    lines.append(judgment)
    lines.close()
    assert verify(folder)["damaged"] == []
    config = folder.read_config("fake")
    config["protocol"]["criteria"][name]["system_prompt"] += "More."
    folder.write_config(folder.read_config() | config, "fake")
    assert "judgment of 'b' by fake" in verify(folder)["stale"]


def test_a_sample_that_lacks_a_number_is_unparsed_and_the_figures_say_on_what_they_rest(tmp_path):
    write(tmp_path, "gedit")
    good = {"semantic_consistency": '{"score": [9, 4]}', "perceptual_quality": "Naturalness: 4\nCleanness: 9"}
    replies = [
        good,
        good | {"perceptual_quality": "Naturalness: 4"},
        good,
        good | {"semantic_consistency": "[9, 4, 1]"},
    ]
    (tmp_path / "conf" / "judge").mkdir(parents=True)
    own = {"defaults": ["fake", "_self_"], "replies": replies}
    (tmp_path / "conf" / "judge" / "own.yaml").write_text(json.dumps(own))
    fixed = ["--config-dir", str(tmp_path / "conf"), *settings(tmp_path, "gedit"), "judge=own"]
    for name in ("edit", "score"):
        phase(name, tmp_path / "run", *fixed)
    folder = RunDir(tmp_path / "run")
    judgments = folder.read_judgments("fake")
    assert [judgments[i].state for i in "abcd"] == ["scored", "unparsed", "scored", "unparsed"]
    assert judgments["a"].score == 4
    assert judgments["b"].named_scores == {"SC": 4, "PQ": None, "score": None}
    assert judgments["b"].error == "no numbers that can be read under perceptual_quality"
    assert judgments["d"].named_scores == {"SC": None, "PQ": 4, "score": None}
    report = build_report(folder, "fake")
    figures = {figure["name"]: figure for figure in report["official"]["figures"]}
    assert [(f["value"], f["scored"], f["categories"]) for f in figures.values()] == [
        (4, 2, 1),
        (4, 3, 2),
        (4, 3, 2),
        (None, 0, 0),
    ]
    assert figures["overall"]["with_failures_as_min"] == pytest.approx(4 / 3)  # 4, 0 and 0 of three tasks
    assert report["counts"]["unparsed"] == 2 and report["overall"]["mean_range"] == [2, 7]
    assert verify(folder)["damaged"] == []
    shown = [sample["reply"] for sample in report["samples"]]
    assert shown[1] == 'semantic_consistency:\n{"score": [9, 4]}\n\nperceptual_quality:\nNaturalness: 4'


def test_a_file_of_prompts_counts_and_is_named(tmp_path):
    write(tmp_path, "imgedit")
    words = {"edit": {"user_template": "Rate {edit_instruction}"}, "hard": {"user_template": "Rate it"}}
    file = tmp_path / "own.json"
    file.write_text(json.dumps(words))
    fixed = [*settings(tmp_path, "imgedit"), f"protocol.prompts={file}"]
    for name in ("edit", "score"):
        phase(name, tmp_path / "run", *fixed)
    folder = RunDir(tmp_path / "run")
    prompts = build_report(folder, "fake")["official"]["prompts"]
    assert prompts["file"] == str(file) and len(prompts["sha256"]) == 64
    words["hard"]["user_template"] += "!"
    file.write_text(json.dumps(words))
    again = run_python(["-m", "editbench.score", f"run_dir={folder.root}", *fixed], tmp_path)
    assert "4 judgments of this run were made with other settings" in again.output and "sha256" in again.output
    Path(file).unlink()
    assert verify(folder) == NOTHING


def test_runs_under_different_protocols_are_not_compared(tmp_path):
    write(tmp_path, "gedit")
    for name, protocol in (("one", "gedit"), ("two", "seed")):
        for step in ("edit", "score"):
            phase(step, tmp_path / name, *settings(tmp_path, "gedit"), f"protocol={protocol}")
    pair = [f"base={tmp_path / 'one'}", f"other={tmp_path / 'two'}"]
    refused = run_python(["-m", "editbench.compare", *pair], tmp_path)
    assert refused.code != 0 and "protocol.name: 'gedit' -> 'seed'" in refused.output
