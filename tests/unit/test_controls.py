"""Controls: which samples and what is shown in place of their edits, what is found missing, what the numbers say."""

import dataclasses
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_file import make_picture
from PIL import Image
from test_score import Run, Scripted, edited_picture

from editbench.analysis.controls import compare_controls, controls_note
from editbench.errors import UserError
from editbench.judges.controls import choose_samples, find_other
from editbench.judges.prompts import EDIT_FIRST
from editbench.run.records import WRONG_EDITS, Control, Edit, JudgeTask, Judgment, Sample
from editbench.run.session import Session
from editbench.run.sinks import JudgmentSink
from editbench.run.tally import Tally
from editbench.todo import cut_batches, find_judge_tasks, withdraw_judgments
from editbench.views.markdown import controls_section

BOTH = "judge.compare_with_original=true"
CONTROLS = "score.controls=3"


def make_sample(number: int, category: str, source: str = "", instruction: str = "") -> Sample:
    instruction = instruction or f"do {number}"
    return Sample(number, f"id {number}", f"key-{number}", category, instruction, "", source or f"s{number}", [])


def shuffled(samples: list[Sample]) -> list[Sample]:
    """The same samples in another order, as another dataset might have them."""
    order = random.Random(3).sample(samples, len(samples))
    return [dataclasses.replace(sample, index=index) for index, sample in enumerate(order)]


# Which samples


def test_samples_are_spread_evenly_over_the_categories_whatever_their_order() -> None:
    samples = [make_sample(i, "many" if i < 40 else "few" if i < 43 else "one") for i in range(44)]
    chosen = choose_samples(samples, 9)
    assert Counter(sample.category for sample in chosen) == {"many": 5, "few": 3, "one": 1}
    assert [s.sample_id for s in choose_samples(shuffled(samples), 9)] == [s.sample_id for s in chosen]
    assert choose_samples(samples, 7) == chosen[:7]  # a smaller choice is part of a larger one
    assert {s.sample_id for s in chosen if s.category == "many"} != {f"id {i}" for i in range(5)}  # not the first ones
    assert len(choose_samples(samples, 1000)) == 44
    assert choose_samples(samples, 0) == []


def test_within_a_category_each_source_comes_once_before_any_comes_twice() -> None:
    samples = [make_sample(i, "a", f"source {i % 4}") for i in range(20)]
    chosen = [sample.source_sha256 for sample in choose_samples(samples, 8)]
    assert sorted(chosen[:4]) == sorted(chosen[4:]) == [f"source {k}" for k in range(4)]


def make_task(sample: Sample) -> JudgeTask:
    return JudgeTask(sample, Edit(sample.sample_id, sample.category, "edited", "u", "i", 0), "unit", 1, 0)


def test_the_other_sample_has_another_source_and_instruction_and_the_same_category_where_possible() -> None:
    own = make_sample(0, "a", "same", "turn it red")
    same_source, same_words = make_sample(1, "a", "same", "x"), make_sample(2, "a", "other", "turn it red")
    elsewhere, fitting, further = make_sample(3, "b", "other", "x"), make_sample(4, "a", "o", "x"), make_sample(5, "a")
    tasks = [make_task(sample) for sample in (further, own, same_source, same_words, elsewhere, fitting)]
    assert find_other(tasks[1], tasks) == tasks[5]  # the next one behind it that fits
    assert find_other(tasks[1], [*tasks[:5]]) == tasks[0]  # around
    assert find_other(tasks[1], tasks[1:5]) == tasks[4]  # of another category
    assert find_other(tasks[1], tasks[1:4]) is None


# What is shown


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def find_controls(run: Run, *overrides: str) -> list[JudgeTask]:
    return [task for task in run.find(CONTROLS, *overrides)[0] if task.control]


def test_a_judge_that_sees_both_images_is_shown_what_each_control_says(run: Run) -> None:
    config = run.load(CONTROLS, BOTH)
    tasks = find_controls(run, BOTH)
    assert Counter(task.control for task in tasks) == dict.fromkeys([*WRONG_EDITS, "again", "swapped"], 3)
    judge = run.batch_judge(Scripted(), CONTROLS, BOTH)
    by_id = {sample.sample_id: sample for sample in run.plan.samples}
    real = {task.sample.sample_id: task for task in run.find(CONTROLS, BOTH)[0] if not task.control}
    for task in tasks:
        request, usual = judge.requests(task)[0], judge.requests(real[task.sample.sample_id])[0]
        source, edit = make_picture(task.sample.index), edited_picture(task.sample.index)
        assert task.compared_with == real[task.sample.sample_id].unit != task.unit
        other = by_id.get(task.other or "")
        assert (other is not None) == task.control.startswith("other_")
        wanted = {
            "unchanged": (source, source),
            "black": (source, Image.new("RGB", edit.size)),
            "other_edit": (source, edited_picture(other.index) if other else None),
            "swapped": (edit, source),
        }.get(task.control, (source, edit))
        if task.control == "noise":
            shown = np.asarray(request.images[1])
            assert shown.shape == (edit.height, edit.width, 3) and 110 < shown.mean() < 145 and shown.std() > 60
            assert judge.requests(task)[0].images[1].tobytes() == request.images[1].tobytes()
            wanted = (source, request.images[1])
        assert [image.tobytes() for image in request.images] == [image.tobytes() for image in wanted], task.control
        words = usual.user
        if task.control == "other_instruction":
            words = usual.user.replace(by_id[task.sample.sample_id].instruction, other.instruction)
            assert words != usual.user
        assert request.user == EDIT_FIRST * (task.control == "swapped") + words
        assert request.system == usual.system == config.rubrics[task.sample.category].system_prompt
    noise = {judge.requests(task)[0].images[1].tobytes() for task in tasks if task.control == "noise"}
    assert len(noise) == 3


def test_a_judge_that_sees_the_edit_alone_has_no_order_to_swap_but_the_source_as_an_edit(run: Run) -> None:
    tasks = find_controls(run)
    assert Counter(task.control for task in tasks) == dict.fromkeys([*WRONG_EDITS, "again"], 3)
    (task,) = [t for t in tasks if t.control == "unchanged" and t.sample == tasks[0].sample]
    (image,) = run.batch_judge(Scripted(), CONTROLS).requests(task)[0].images
    assert image.tobytes() == make_picture(task.sample.index).tobytes()


def test_a_dataset_of_one_source_image_has_no_other_to_take(tmp_path: Path) -> None:
    run = Run(tmp_path, ["physical"])
    assert {task.control for task in find_controls(run)} == {"unchanged", "black", "noise", "again"}


# What is missing


def write_all(run: Run, *overrides: str, judge: Any = None) -> list[Judgment]:
    """Judge all that is missing, in batches, and put it on record."""
    config = run.load(CONTROLS, *overrides)
    todo = find_judge_tasks(config, run.run_dir, run.plan, None)
    withdraw_judgments(todo.tasks, run.run_dir, "fake")
    run.run_dir.write_config(config.resolved, "fake")
    session = Session(run.run_dir, Tally("score", todo.total, todo.states, 1.0, todo.controls), {"name": "fake"})
    sink = JudgmentSink(run.run_dir, "fake", todo.kept, session)
    draws = [(batch, None) for batch in cut_batches(todo.tasks, 4)]
    judged = list(run.batch_judge(judge or Scripted(), CONTROLS, *overrides).run(draws))
    with session:
        for judgments in judged:
            sink.handle(judgments)
        assert not session.is_preempted(False)
    sink.close()
    return [judgment for judgments in judged for judgment in judgments]


def test_controls_are_written_apart_counted_apart_and_found_again(run: Run) -> None:
    assert len(write_all(run)) == 8 + 18
    assert len(run.run_dir.read_judgments("fake")) == 8
    controls = run.run_dir.read_controls("fake")
    assert len(controls) == 18 and all(type(control) is Control for control in controls.values())
    assert len(run.run_dir.controls_of("fake").read_bytes().splitlines()) == 18
    status = json.loads(run.run_dir.status_file.read_text())
    assert (status["done"], status["total"], status["failed"]) == (8, 8, 0)
    (session,) = run.run_dir.read_sessions()
    assert (session["samples"], session["controls"]) == (8, 18)
    assert run.find(CONTROLS)[0] == [] and len(run.find(CONTROLS)[1]) == 26
    assert tuple(map(len, run.find())) == (0, 8)  # a start that asks for none leaves them alone
    more = find_judge_tasks(run.load("score.controls=5"), run.run_dir, run.plan, None)
    assert (len(more.tasks), more.controls, more.total) == (12, 12, 8)


def test_a_phase_that_ends_with_controls_missing_is_not_done(run: Run) -> None:
    session = Session(run.run_dir, Tally("score", 8, Counter({"scored": 8}), 1.0, 2), {"name": "fake"})
    session.count_control()
    assert session.is_preempted(True) and session.preempted
    with pytest.raises(UserError, match="0 of 8 samples and 1 controls were not done by any rank"):
        session.is_preempted(False)


def test_controls_stand_behind_the_samples_in_batches_of_one_category(run: Run) -> None:
    tasks = run.find(CONTROLS, BOTH)[0]
    batches = cut_batches(tasks, 4)
    kinds = [{bool(task.control) for task in batch} for batch in batches]
    assert kinds == [{False}] * kinds.count({False}) + [{True}] * kinds.count({True}) and len(kinds) > 8
    assert [len({task.sample.category for task in batch}) for batch in batches] == [1] * len(batches)
    places = {(task.sample.sample_id, task.control): task.place for task in tasks if task.control}
    more = {(t.sample.sample_id, t.control): t.place for t in run.find("score.controls=8", BOTH)[0] if t.control}
    assert places.items() <= more.items()  # more controls leave the others in their batches


def test_what_changes_a_judgment_changes_its_controls(run: Run) -> None:
    write_all(run)
    changed = "rubrics.physical.system_prompt=Other."
    with pytest.raises(UserError, match="judgments of this run were made with other settings"):
        run.find(CONTROLS, changed)
    redone = run.find(CONTROLS, changed, "on_change=redo")[0]
    assert {task.sample.category for task in redone} == {"physical"}
    assert len([task for task in redone if task.control]) == 6
    withdraw_judgments(redone, run.run_dir, "fake")  # and then killed
    withdrawn = run.run_dir.read_controls("fake").values()
    assert Counter(control.state for control in withdrawn) == {"edited": 6, "scored": 12}
    assert len(run.find(CONTROLS, changed)[0]) == len(redone)


def test_an_edit_made_anew_takes_its_controls_and_those_that_show_it_with_it(run: Run) -> None:
    write_all(run)
    controls = run.run_dir.read_controls("fake").values()
    chosen = {control.sample_id for control in controls}
    shown = next(c for c in controls if c.control == "other_edit")
    index = next(s.index for s in run.plan.samples if s.sample_id == shown.other)
    run.edit([index], shift=50)
    again = {(task.sample.sample_id, task.control) for task in run.find(CONTROLS)[0]}
    own = {(shown.other, kind) for kind in (*WRONG_EDITS, "again")} if shown.other in chosen else set()
    users = {(c.sample_id, "other_edit") for c in controls if c.control == "other_edit" and c.other == shown.other}
    assert again == {(shown.other, "")} | own | users


def test_a_control_that_fails_is_on_record_and_stops_nothing(run: Run) -> None:
    class NoNoise(Scripted):
        def reply(self, prepared: Any) -> list[str]:
            if any(request.images[0].getextrema() == ((0, 0),) * 3 for request in prepared):
                raise RuntimeError("too dark")
            return super().reply(prepared)

    judged = write_all(run, judge=NoNoise())
    failed = [judgment for judgment in judged if judgment.state != "scored"]
    assert [(c.control, c.state, c.score, c.error) for c in failed] == [("black", "judge_failed", None, "too dark")] * 3
    assert run.find(CONTROLS)[0] == []
    assert [task.control for task in run.find(CONTROLS, "retry_failed=true")[0]] == ["black"] * 3


# What the numbers say

REAL = {"a1": 8.0, "a2": 6.0, "b": 7.0, "c": 5.0}


def outcome_of(sample_id: str, score: float | None) -> dict[str, Any]:
    return {"sample_id": sample_id, "source": sample_id[0], "score": score}


def judgment_of(sample_id: str, score: float | None) -> Judgment:
    return Judgment(
        sample_id, "physical", "scored" if score is not None else "unparsed", f"unit {sample_id}", "", score
    )


def control_of(kind: str, sample_id: str, score: float | None, **fields: Any) -> Control:
    state = "unparsed" if score is None else "scored"
    known = {"compared_with": f"unit {sample_id}", "state": state, **fields}
    return Control(sample_id, "physical", known.pop("state"), "u", "", score, control=kind, **known)


def compare(controls: list[Control], real: dict[str, float | None] | None = None) -> dict[str, Any] | None:
    real = REAL if real is None else real
    outcomes = [outcome_of(*pair) for pair in real.items()]
    return compare_controls("fake", outcomes, {i: judgment_of(i, score) for i, score in real.items()}, controls)


def test_a_distance_is_paired_and_clustered_by_source() -> None:
    scores = {"a1": 5.0, "a2": 5.0, "b": 5.0, "c": 4.0}
    found = compare([control_of("black", *pair) for pair in scores.items()])
    # differences 3, 1, 2, 1 with mean 1.75; residuals by source: a 0.5, b 0.25, c -0.75;
    # SE^2 = 3/2 * (0.25 + 0.0625 + 0.5625) / 16 = 0.08203125; t of 2 degrees of freedom is 4.302653
    (black,) = found["per_kind"]
    error = math.sqrt(0.08203125)
    low, high = black.pop("interval")
    assert black == {
        **{"control": "black", "n": 4, "failed": 0, "unpaired": 0, "mean": 4.75, "real_mean": 6.5},
        **{"difference": 1.75, "standard_error": pytest.approx(error), "told_apart": True},
    }
    assert (low, high) == pytest.approx((1.75 - 4.302653 * error, 1.75 + 4.302653 * error), abs=1e-5)
    assert found["sentences"] == [
        "the judge tells real edits from black images (difference 1.75, interval 0.52 to 2.98)"
    ]
    assert (found["repeatability"], found["order_bias"], controls_note(found)) == (None, None, [])


def test_a_judge_that_cannot_tell_is_said_to() -> None:
    found = compare([control_of("black", i, s) for i, s in {"a1": 9.0, "b": 6.5, "c": 4.5}.items()])
    # differences -1, 0.5, 0.5, mean 0, residuals the same; SE^2 = 3/2 * 1.5 / 9 = 0.25
    assert found["per_kind"][0]["told_apart"] is False
    assert found["sentences"] == [
        "the judge cannot tell real edits from black images (difference 0.00, interval -2.15 to 2.15)"
    ]
    (note,) = controls_note(found)
    assert "black images" in note and note.startswith("judge: ")


def test_with_more_kinds_each_has_to_show_more() -> None:
    scores = {"a1": 6.0, "a2": 5.0, "b": 6.0, "c": 4.5}  # differences 2, 1, 1, 0.5; residuals 0.75, -0.125, -0.625
    alone = compare([control_of("black", *pair) for pair in scores.items()])["per_kind"][0]
    five = compare([control_of(kind, *pair) for kind in WRONG_EDITS for pair in scores.items()])["per_kind"]
    error = math.sqrt(3 / 2 * (0.75**2 + 0.125**2 + 0.625**2) / 16)
    assert alone["standard_error"] == pytest.approx(error)
    # t of 2 degrees of freedom at 97.5 % is 4.302653, and at 99.5 %, 95 % for five together, 9.924843
    assert alone["interval"] == pytest.approx([1.125 - 4.302653 * error, 1.125 + 4.302653 * error], abs=1e-5)
    for kind in five:
        assert kind["interval"] == pytest.approx([1.125 - 9.924843 * error, 1.125 + 9.924843 * error], abs=1e-5)
        assert kind["told_apart"] is False


def test_a_judge_that_likes_a_control_better_is_said_to() -> None:
    found = compare([control_of("noise", i, score + 1) for i, score in REAL.items()])
    assert found["sentences"] == ["the judge scores noise above real edits (difference -1.00, interval -1.00 to -1.00)"]
    assert found["per_kind"][0]["told_apart"] is False and len(controls_note(found)) == 1


def test_scores_that_are_all_the_same_tell_nothing_apart() -> None:
    found = compare([control_of("unchanged", i, 5.0) for i in REAL], dict.fromkeys(REAL, 5.0))
    assert (found["per_kind"][0]["interval"], found["per_kind"][0]["told_apart"]) == ([0.0, 0.0], False)
    assert "cannot tell real edits from unchanged sources" in found["sentences"][0]


def test_two_edits_of_one_source_tell_nothing() -> None:
    found = compare([control_of("black", i, 0.0) for i in ("a1", "a2")])
    (black,) = found["per_kind"]
    assert (black["difference"], black["interval"], black["told_apart"]) == (7.0, None, None)
    assert "it is not known whether the judge can tell real edits from black images: 2 pairs" in found["sentences"][0]
    assert len(controls_note(found)) == 1


def test_what_has_no_score_is_counted_and_never_filled() -> None:
    real = {**REAL, "d": None, "e": 4.0}
    controls = [
        control_of("noise", "a1", 1.0),
        control_of("noise", "b", None),
        control_of("noise", "c", None, state="judge_failed"),
        control_of("noise", "d", 2.0),  # its real edit has no score
        control_of("noise", "e", 2.0, compared_with="of other settings"),
        control_of("noise", "a2", None, state="edited"),  # withdrawn
        control_of("noise", "gone", 3.0),  # planned no more
    ]
    (noise,) = compare(controls, real)["per_kind"]
    assert (noise["n"], noise["failed"], noise["unpaired"]) == (1, 2, 1)
    assert (noise["mean"], noise["real_mean"], noise["difference"]) == (1.0, 8.0, 7.0)
    nothing = compare([control_of("black", "a1", None)])["per_kind"][0]
    assert (nothing["n"], nothing["mean"], nothing["difference"], nothing["told_apart"]) == (0, None, None, None)
    assert compare(controls[4:], real) is None and compare([]) is None


def test_repeatability_and_order_bias() -> None:
    again = {"a1": 8.0, "a2": 7.0, "b": 7.0, "c": 4.5}
    swapped = {"a1": 8.5, "a2": 6.5, "b": 7.5, "c": 5.5}
    controls = [control_of("again", *pair) for pair in again.items()] + [control_of("again", "x", 3.0)]
    found = compare(controls + [control_of("swapped", *pair) for pair in swapped.items()])
    assert found["per_kind"] == []
    assert found["repeatability"] == {
        **{"n": 4, "failed": 0, "unpaired": 0, "mean_absolute_difference": 0.375, "identical": 0.5}
    }
    order = found["order_bias"]
    assert (order["n"], order["difference"], order["interval"]) == (4, 0.5, [0.5, 0.5])
    assert found["sentences"] == [
        "judged a second time, 50% of 4 edits have the same score (mean absolute difference 0.38)",
        "the order of the images changes the scores (edit first minus source first 0.50, interval 0.50 to 0.50)",
    ]
    steady = compare([control_of("swapped", i, score) for i, score in REAL.items()])
    assert steady["sentences"][0].startswith("no effect of the order of the images is seen")
    empty = compare([control_of("again", "a1", None)])
    assert (empty["repeatability"]["identical"], empty["repeatability"]["failed"]) == (None, 1)
    assert "not known" in empty["sentences"][0]


def test_the_markdown_asks_whether_the_judge_can_tell() -> None:
    # differences 7, 5, 6, 4; residuals by source 1, 0.5, -1.5; SE^2 = 3/2 * 3.5 / 16; t for two intervals is 6.2053
    found = compare([control_of("black", i, 1.0) for i in REAL] + [control_of("noise", "a1", None)])
    title, rows, said = controls_section(found)
    assert title == "## Can the judge tell?"
    assert "| black images | 6.500 | 1.000 | 5.500 | 1.945 to 9.055 | 4 | 0 |" in rows
    assert "| noise | – | – | – | – | 0 | 1 |" in rows
    assert said.splitlines()[0].startswith("- the judge tells real edits from black images")
    assert controls_section(None) == []
