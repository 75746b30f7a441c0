"""Phase 2 without processes: batches that fail, replies without a score, what is found missing."""

import dataclasses
import hashlib
import json
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from benchmark_file import make_picture, write_benchmark
from PIL import Image

from editbench.components.load import open_dataset
from editbench.config import load as configuration
from editbench.config.schema import Config
from editbench.errors import UserError
from editbench.images import decode_rgb, encode_png
from editbench.judges import batches as judging
from editbench.judges import halving
from editbench.judges.ahead import work_ahead
from editbench.judges.base import Request
from editbench.judges.batches import BatchJudge
from editbench.judges.fake import FakeJudge
from editbench.judges.prompts import render
from editbench.plan import ensure_plan
from editbench.run.folder import Plan, RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, JudgeTask, Judgment, Sample
from editbench.run.session import Session
from editbench.run.shards import ShardWriter
from editbench.run.sinks import JudgmentSink
from editbench.run.tally import Tally
from editbench.todo import cut_batches, find_judge_tasks

CATEGORIES = ["物理", "environmental", "社会", "causal", "指代", "物理", "环境", "social"]
SIZES = [(40, 30), (20, 50), (64, 64)]


def edited_picture(index: int) -> Image.Image:
    return make_picture(100 + index, SIZES[index % len(SIZES)])


class Run:
    """A run of eight samples whose edits are there, on the fakes."""

    def __init__(self, folder: Path, categories: Sequence[str] = CATEGORIES) -> None:
        self.folder = folder
        write_benchmark(folder / "bench.json", categories)
        config = self.load()
        self.run_dir = RunDir(config.run_dir)
        self.run_dir.create()
        self.run_dir.write_config(config.resolved, config.judge.name)
        self.plan: Plan = ensure_plan(config, self.run_dir)
        self.edit(range(len(categories)))

    def load(self, *overrides: str) -> Config:
        fixed = [f"dataset.path={self.folder / 'bench.json'}", f"run_dir={self.folder / 'run'}"]
        return configuration.load(["editor=fake", "judge=fake", *fixed, *overrides])

    def edit(self, indexes: Sequence[int], shift: int = 0) -> None:
        """Put a picture of one's own on record as each sample's edit."""
        shards = ShardWriter(self.run_dir.edits, 2**20, self.run_dir.committed_shard_end())
        index = JsonLines(self.run_dir.edits_index)
        for i in indexes:
            sample = self.plan.samples[i]
            picture = edited_picture(i + shift)
            png = encode_png(picture)
            sha256 = hashlib.sha256(png).hexdigest()
            shard, offset = shards.append(sample.key, png, b"{}")
            placed = {"shard": shard, "offset": offset, "length": len(png), "sha256": sha256}
            size = {"width": picture.width, "height": picture.height, "source_width": 640, "source_height": 480}
            index.append(
                Edit(sample.sample_id, sample.category, "edited", "unit", sample_input(sample), 0, **size, **placed)
            )
        shards.close()
        index.close()

    def fail(self, i: int) -> None:
        sample = self.plan.samples[i]
        index = JsonLines(self.run_dir.edits_index)
        failure = {"error_type": "E", "error": "no"}
        index.append(Edit(sample.sample_id, sample.category, "edit_failed", "unit", sample_input(sample), 0, **failure))
        index.close()

    def find(self, *overrides: str) -> tuple[list[JudgeTask], list[Judgment]]:
        """The tasks in the plan's order, and the judgments that are kept."""
        config = self.load(*overrides)
        tasks, kept = find_judge_tasks(config, self.run_dir, ensure_plan(config, self.run_dir), None)
        return sorted(tasks, key=lambda task: task.sample.index), kept

    def record(self, tasks: Sequence[JudgeTask], state: str = "scored") -> None:
        judgments = JsonLines(self.run_dir.judgments_of("fake"))
        for task in tasks:
            score = 5.5 if state == "scored" else None
            judgment = Judgment(task.sample.sample_id, task.sample.category, state, task.unit, task.edit.sha256, score)
            judgments.append(judgment)
        judgments.close()

    def judge(self, judge: Any, *overrides: str) -> list[Judgment]:
        """Judge all samples as one batch."""
        (judgments,) = self.batch_judge(judge, *overrides).run([(self.find(*overrides)[0], None)])
        return judgments

    def batch_judge(self, judge: Any, *overrides: str) -> BatchJudge:
        config = self.load(*overrides)
        return BatchJudge(judge, open_dataset(config.dataset), config, self.run_dir)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


class Scripted:
    """A judge that replies by a function of the request, raises for batches that hold a bad image, and keeps count.

    Args:
        reply: Reply to a request.
        bad: Indexes of the samples whose image no batch survives.
    """

    def __init__(self, reply: Any = lambda request: "Score: 7", bad: Sequence[int] = ()) -> None:
        self._reply, self._bad = reply, bad
        self.batches: list[list[Request]] = []

    def prepare(self, requests: Sequence[Request]) -> tuple[Request, ...]:
        return tuple(requests)

    def reply(self, prepared: tuple[Request, ...]) -> list[str]:
        self.batches.append(list(prepared))
        for request in prepared:
            if request.index in self._bad:
                raise MemoryError(f"image {request.index} is too much")
        return [self._reply(request) for request in prepared]

    def describe(self) -> dict[str, Any]:
        return {}


def make_requests(count: int) -> list[Request]:
    return [Request(index, "system", "user", (make_picture(index),)) for index in range(count)]


def ask(requests: list[Request], judge: Scripted) -> list[str | Exception]:
    return halving.ask(requests, judge.prepare, judge.reply)


def test_a_batch_that_succeeds_is_asked_once() -> None:
    judge = Scripted(lambda request: f"reply {request.index}")
    assert ask(make_requests(5), judge) == [f"reply {index}" for index in range(5)]
    assert [len(batch) for batch in judge.batches] == [5]


@pytest.mark.parametrize("bad", [[0], [4], [7], [2, 3], [0, 7], [1, 4, 6], list(range(8))])
def test_halving_leaves_just_the_failing_requests_without_a_reply(bad: list[int]) -> None:
    answers = ask(make_requests(8), Scripted(lambda request: f"reply {request.index}", bad))
    for index, answer in enumerate(answers):
        if index in bad:
            assert isinstance(answer, MemoryError) and str(answer) == f"image {index} is too much"
        else:
            assert answer == f"reply {index}"


def test_a_batch_is_halved_and_never_asked_again_as_it_was() -> None:
    judge = Scripted(bad=[5])
    ask(make_requests(8), judge)
    asked = [[request.index for request in batch] for batch in judge.batches]
    assert asked == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7]]


def test_what_failed_holds_no_memory_of_the_try_while_the_rest_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halving.logger, "disabled", True)  # pytest keeps what is logged, and with it the tracebacks

    class Tensors:
        pass

    tries: list[weakref.ref[Tensors]] = []
    alive: list[int] = []

    class Fails(Scripted):
        def reply(self, prepared: Any) -> list[str]:
            alive.append(sum(tried() is not None for tried in tries))
            tensors = Tensors()
            tries.append(weakref.ref(tensors))
            try:
                raise MemoryError("no room")
            except MemoryError as error:
                raise RuntimeError("the batch failed") from error

    assert all(isinstance(answer, RuntimeError) for answer in ask(make_requests(4), Fails()))
    assert alive == [0] * 7


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16])
def test_batches_of_any_size_keep_their_order_when_halved(size: int) -> None:
    answers = ask(make_requests(size), Scripted(lambda request: str(request.index), bad=[size - 1]))
    assert answers[:-1] == [str(index) for index in range(size - 1)]
    assert isinstance(answers[-1], MemoryError)


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_wrong_number_of_replies_is_a_failure_and_no_reply_is_shifted(surplus: int) -> None:
    class Miscounts(Scripted):
        def reply(self, prepared: tuple[Request, ...]) -> list[str]:
            replies = super().reply(prepared)
            return replies if len(prepared) < 3 else [*replies, "Score: 1"][: len(prepared) + surplus]

    answers = ask(make_requests(4), Miscounts(lambda request: f"reply {request.index}"))
    assert answers == [f"reply {index}" for index in range(4)]

    class NeverReplies(Scripted):
        def reply(self, prepared: tuple[Request, ...]) -> list[str]:
            return []

    assert ["0 answers to 1 requests" in str(answer) for answer in ask(make_requests(2), NeverReplies())] == [True] * 2


def test_what_fails_alone_is_judge_failed_with_its_cause_and_the_others_are_scored(run: Run) -> None:
    judgments = run.judge(Scripted(bad=[3]))
    assert [judgment.state for judgment in judgments] == ["scored"] * 3 + ["judge_failed"] + ["scored"] * 4
    failed = judgments[3]
    assert (failed.error_type, failed.error) == ("MemoryError", "image 3 is too much")
    assert (failed.score, failed.reply, failed.completion) == (None, None, None)


def test_an_image_that_cannot_be_read_fails_alone(run: Run) -> None:
    task = run.find()[0][2]
    shard = run.run_dir.edits / "shard-00000.tar"
    data = bytearray(shard.read_bytes())
    data[task.edit.offset + 40] ^= 1
    shard.write_bytes(data)
    judge = Scripted()
    judgments = run.judge(judge)
    assert [judgment.state for judgment in judgments] == ["scored"] * 2 + ["judge_failed"] + ["scored"] * 5
    assert "not the image that the index names" in (judgments[2].error or "")
    assert [request.index for request in judge.batches[0]] == [0, 1, 3, 4, 5, 6, 7]


def test_a_reply_without_a_score_is_completed_by_the_judge_in_its_own_turn(run: Run) -> None:
    judge = Scripted(
        lambda request: {("reply", 2): "I cannot say.", ("number", 2): "4.5"}.get(asked(request), "Score: 7")
    )
    judgments = run.judge(judge)
    assert [judgment.state for judgment in judgments] == ["scored"] * 8
    assert [len(batch) for batch in judge.batches] == [8, 1]
    first, (again,) = judge.batches[0][2], judge.batches[1]
    assert again == dataclasses.replace(first, answer_start="I cannot say.\nScore: ", wanted="number")
    completed = judgments[2]
    assert (completed.score, completed.reply, completed.completion) == (4.5, "I cannot say.", "4.5")
    assert (judgments[0].reply, judgments[0].completion) == ("Score: 7", None)


def asked(request: Request) -> tuple[str, int]:
    return request.wanted, request.index


@pytest.mark.parametrize("completes", [True, False])
def test_a_completion_without_a_number_is_unparsed_and_both_are_kept(run: Run, completes: bool) -> None:
    judge = Scripted(lambda request: f"nothing as {request.wanted}")
    judgments = run.judge(judge, f"judge.complete_replies={completes}")
    assert len(judge.batches) == 1 + completes
    for judgment in judgments:
        assert (judgment.state, judgment.score, judgment.error_type) == ("unparsed", None, None)
        assert (judgment.reply, judgment.completion) == (
            "nothing as reply",
            "nothing as number" if completes else None,
        )


def test_a_judge_that_fails_when_it_is_to_complete_leaves_no_score(run: Run) -> None:
    class FailsLater(Scripted):
        def reply(self, prepared: tuple[Request, ...]) -> list[str]:
            if any(request.wanted == "number" for request in prepared):
                raise RuntimeError("gone")
            return super().reply(prepared)

    judgments = run.judge(FailsLater(lambda request: "8-9" if request.index == 1 else "Score: 8"))
    assert [judgment.state for judgment in judgments] == ["scored", "judge_failed"] + ["scored"] * 6
    assert (judgments[1].score, judgments[1].reply, judgments[1].error) == (None, "8-9", "gone")


def test_the_rubrics_own_title_names_the_score(run: Run) -> None:
    judge = Scripted(lambda request: "Plausible World score: 6.5")
    judgments = run.judge(judge, "rubrics.physical.title=Plausible world", "judge.complete_replies=false")
    scores = {judgment.category: judgment.score for judgment in judgments}
    assert scores.pop("physical") == 6.5 and set(scores.values()) == {None}


# Mode expected


class Likely(Scripted):
    """A judge that gives the digits probabilities by a function of the request, and never replies."""

    def check_labels(self, labels: Sequence[str]) -> None:
        pass

    def label_probabilities(self, prepared: tuple[Request, ...], labels: Sequence[str]) -> list[list[float]]:
        assert list(labels) == [str(digit) for digit in range(10)]
        return super().reply(prepared)  # type: ignore[return-value]

    def reply(self, prepared: tuple[Request, ...]) -> list[str]:
        raise AssertionError("nothing is to be generated")


def one_hot(digit: int, probability: float = 1.0) -> list[float]:
    return [probability * (other == digit) for other in range(10)]


def test_in_mode_expected_scores_are_means_over_the_labels_and_nothing_is_asked_twice(run: Run) -> None:
    mixed = [0.0] * 6 + [0.2, 0.0, 0.6, 0.0]
    given = {0: mixed, 1: one_hot(3, 0.4), 2: one_hot(5, float("nan")), 4: one_hot(5, float("inf"))}
    judge = Likely(lambda request: given.get(request.index, one_hot(request.index)), bad=[7])
    judgments = run.judge(judge, "judge.mode=expected")
    assert [len(batch) for batch in judge.batches] == [
        8,
        4,
        4,
        2,
        2,
        1,
        1,
    ]  # halved for the last sample, nothing completed
    assert {(request.answer_start, request.wanted) for request in judge.batches[0]} == {("Score: ", "label")}
    failed = ("judge_failed", None, None, None, None)
    assert [(j.state, j.score, j.spread, j.label, j.label_mass) for j in judgments] == [
        ("scored", 7.5, 0.866025, "8", 0.8),
        ("unparsed", None, None, "3", 0.4),
        failed,
        ("scored", 3.0, 0.0, "3", 1.0),
        failed,
        ("scored", 5.0, 0.0, "5", 1.0),
        ("scored", 6.0, 0.0, "6", 1.0),
        failed,
    ]
    assert all(j.reply is None and j.completion is None for j in judgments)
    assert judgments[0].label_probabilities == {str(digit): mixed[digit] for digit in range(10)}
    assert "0.4 of the probability" in judgments[1].error and "judge.min_label_mass=0.5" in judgments[1].error
    assert "no probabilities" in judgments[2].error and judgments[7].error_type == "MemoryError"


def test_in_mode_generate_there_are_no_labels(run: Run) -> None:
    judge = Scripted()
    for judgment in run.judge(judge):
        unknown = (judgment.label_probabilities, judgment.label, judgment.label_mass, judgment.spread)
        assert unknown == (None, None, None, None)
    assert {(request.answer_start, request.wanted) for request in judge.batches[0]} == {("", "reply")}


# The batches behind the one that is judged


class Drawn:
    """One batch per sample, as a job draws them; keeps which were taken."""

    def __init__(self, run: Run, alone: Sequence[int] = ()) -> None:
        self._tasks, self._alone = run.find()[0], alone
        self.taken: list[int] = []

    def __iter__(self) -> Iterator[tuple[list[JudgeTask], list[JudgeTask] | None]]:
        for task, following in zip(self._tasks, [*self._tasks[1:], None], strict=True):
            self.taken.append(task.sample.index)
            yield [task], [following] if following and task.sample.index not in self._alone else None


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "preparation_workers", lambda: 1)


@pytest.mark.usefixtures("one_worker")
def test_one_batch_is_taken_and_prepared_ahead_and_no_more(run: Run) -> None:
    draws = Drawn(run)
    prepared: list[list[int]] = []
    ahead = threading.Event()

    class Watched(Scripted):
        def prepare(self, requests: Sequence[Request]) -> tuple[Request, ...]:
            prepared.append([request.index for request in requests])
            if len(prepared) == 2:
                ahead.set()
            return super().prepare(requests)

        def reply(self, prepared: tuple[Request, ...]) -> list[str]:
            assert ahead.wait(20)  # the second batch is prepared while the first one is being answered
            assert draws.taken[-1] == min(prepared[0].index + 1, 7)
            return super().reply(prepared)

    judged = [judgment.sample_id for (judgment,) in run.batch_judge(Watched()).run(draws)]
    assert judged == [sample.sample_id for sample in run.plan.samples]
    assert prepared == [[index] for index in range(8)]


def test_several_batches_are_prepared_at_once_and_judged_in_order(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "preparation_workers", lambda: 3)
    another = threading.Event()

    class Meets(Scripted):
        def prepare(self, requests: Sequence[Request]) -> tuple[Request, ...]:
            if requests[0].index:
                another.set()
            assert another.wait(60)  # the first one is held until another one is prepared beside it
            return super().prepare(requests)

    judge = Meets(lambda request: f"Score: {request.index}")
    judged = [judgment.score for (judgment,) in run.batch_judge(judge).run(Drawn(run))]
    assert judged == list(range(8))
    assert [request.index for (request,) in judge.batches] == list(range(8))


class Work(NamedTuple):
    """What stands in for a future that is done, or not, when its result is wanted."""

    number: int
    is_done: bool

    def done(self) -> bool:
        return self.is_done

    def result(self) -> int:
        return self.number


def test_more_is_taken_ahead_only_while_results_have_to_be_waited_for() -> None:
    taken: list[int] = []

    def draws() -> Iterator[tuple[int, int]]:
        for number in range(20):
            taken.append(number)
            yield number, number + 1

    def submit(number: int) -> Any:
        return Work(number, is_done=number not in (0, 3, 4, 5))

    ahead = []
    for number in work_ahead(submit, draws(), 3, lambda: False):
        ahead.append(len(taken) - number - 1)
    assert ahead[:8] == [1, 2, 2, 2, 3, 3, 3, 3]


def test_what_is_drawn_with_none_behind_it_is_judged_before_the_next_is_taken(run: Run) -> None:
    draws = Drawn(run, alone=range(8))

    class Watched(Scripted):
        def reply(self, prepared: tuple[Request, ...]) -> list[str]:
            assert draws.taken[-1] == prepared[0].index
            return super().reply(prepared)

    assert [len(judgments) for judgments in run.batch_judge(Watched()).run(draws)] == [1] * 8


@pytest.mark.usefixtures("one_worker")
def test_once_told_to_stop_no_batch_is_taken_or_begun(run: Run) -> None:
    told = threading.Event()
    draws = Drawn(run)

    class Told(Scripted):
        def reply(self, prepared: tuple[Request, ...]) -> list[str]:
            if prepared[0].index == 2:
                told.set()
            return super().reply(prepared)

    judge = Told()
    assert len(list(run.batch_judge(judge).run(draws, told.is_set))) == 3
    assert draws.taken == [0, 1, 2, 3]  # the one ahead was taken before, and is not begun
    assert [request.index for (request,) in judge.batches] == [0, 1, 2]
    assert list(run.batch_judge(judge).run(draws, told.is_set)) == [] and len(draws.taken) == 4


def test_what_cannot_be_prepared_fails_alone_and_the_halves_are_prepared_anew(run: Run) -> None:
    prepared: list[list[int]] = []

    class Picky(Scripted):
        def prepare(self, requests: Sequence[Request]) -> tuple[Request, ...]:
            prepared.append([request.index for request in requests])
            if any(request.index == 1 for request in requests):
                raise ValueError("an odd image")
            return super().prepare(requests)

    judge = Picky()
    judgments = run.judge(judge)
    assert [judgment.state for judgment in judgments] == ["scored", "judge_failed"] + ["scored"] * 6
    assert (judgments[1].error_type, judgments[1].error) == ("ValueError", "an odd image")
    whole = list(range(8))  # once ahead of its turn, once in its turn
    assert prepared == [whole, whole, [0, 1, 2, 3], [0, 1], [0], [1], [2, 3], [4, 5, 6, 7]]
    assert [len(batch) for batch in judge.batches] == [1, 2, 4]


def test_a_templates_values_are_filled_in_in_one_pass() -> None:
    sample = Sample(
        index=0,
        sample_id="a",
        key="a",
        category="physical",
        instruction="put {original_description} and {0} {{x}} there \\1",
        description="a {edit_instruction}",
        source_sha256="",
        locator=[],
    )
    filled = render("D: {original_description}; I: {edit_instruction}; {other}; {}", sample)
    assert filled == ("D: a {edit_instruction}; I: put {original_description} and {0} {{x}} there \\1; {other}; {}")


def test_the_judge_gets_the_rubric_of_the_category(run: Run) -> None:
    judge = Scripted()
    run.judge(judge)
    config = run.load()
    for request, sample in zip(judge.batches[0], run.plan.samples, strict=True):
        assert request.system == config.rubrics[sample.category].system_prompt
        assert sample.instruction in request.user and sample.description in request.user
        assert "{" not in request.user


def test_the_judge_sees_the_edited_image_alone_by_default(run: Run) -> None:
    judge = Scripted()
    run.judge(judge)
    for index, request in enumerate(judge.batches[0]):
        (image,) = request.images
        assert (image.mode, image.tobytes()) == ("RGB", edited_picture(index).tobytes())


def test_comparing_with_the_original_shows_the_source_first(run: Run) -> None:
    judge = Scripted()
    run.judge(judge, "judge.compare_with_original=true")
    config = run.load()
    for index, (request, sample) in enumerate(zip(judge.batches[0], run.plan.samples, strict=True)):
        source, edited = request.images
        original = decode_rgb(open_dataset(config.dataset).read(sample.locator))
        assert source.tobytes() == original.tobytes() == make_picture(index).tobytes()
        assert edited.tobytes() == edited_picture(index).tobytes()
        assert request.user == render(config.rubrics[sample.category].user_template_with_source, sample)


def test_only_edited_samples_are_judged(run: Run) -> None:
    run.fail(2)
    run.fail(5)
    tasks, _ = run.find()
    assert [task.sample.index for task in tasks] == [0, 1, 3, 4, 6, 7]


def test_edits_of_other_instructions_than_the_planned_ones_are_not_judged(run: Run) -> None:
    assert len(run.find()[0]) == 8
    assert run.find("dataset.language=zh") == ([], [])


def test_only_what_has_no_judgment_is_missing_afterwards(run: Run) -> None:
    tasks, _ = run.find()
    run.record([tasks[6], tasks[1]])
    missing, kept = run.find()
    assert [task.sample.index for task in missing] == [0, 2, 3, 4, 5, 7]
    assert [judgment.sample_id for judgment in kept] == [tasks[1].sample.sample_id, tasks[6].sample.sample_id]


def test_unparsed_and_failed_judgments_are_tried_again_only_if_asked_for(run: Run) -> None:
    tasks, _ = run.find()
    run.record(tasks[:1], "unparsed")
    run.record(tasks[1:2], "judge_failed")
    run.record(tasks[2:])
    assert run.find()[0] == []
    assert [task.sample.index for task in run.find("retry_failed=true")[0]] == [0, 1]


def test_a_sample_that_was_edited_anew_is_judged_anew_without_a_word(run: Run) -> None:
    run.record(run.find()[0])
    run.edit([3], shift=50)
    tasks, kept = run.find()
    assert [task.sample.index for task in tasks] == [3]
    assert len(kept) == 7


def test_other_settings_are_refused_by_the_names_of_their_keys_or_redone(run: Run) -> None:
    run.record(run.find()[0])
    changed = ["judge.complete_replies=false", "rubrics.causal.system_prompt=Be kind."]
    with pytest.raises(UserError) as refusal:
        run.find(*changed, "seed=7")
    said = str(refusal.value)
    assert "8 judgments" in said
    assert "judge.complete_replies: True -> False" in said
    assert "rubrics.causal.system_prompt" in said
    assert "on_change=redo" in said
    assert "seed" not in said
    assert len(run.find(*changed, "on_change=redo")[0]) == 8


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("rubrics.physical.system_prompt=Other.", [0, 5]),
        ("rubrics.physical.user_template='{edit_instruction}.'", [0, 5]),
        ("rubrics.physical.user_template_with_source='{edit_instruction}.'", []),
        ("rubrics.physical.title=Other", [0, 5]),  # its score is read under this name
        ("rubrics.physical.answer='Score: <number>'", [0, 5]),
        ("rubrics.physical.answer_label='Score: <digit>'", []),
        ("judge.min_label_mass=0.9", []),
        ("judge.mode=expected", list(range(8))),
        ("judge.compare_with_original=true", list(range(8))),
        ("judge.latency_s=0.1", list(range(8))),
        ("judge.complete_replies=false", list(range(8))),
        ("judge.batch_size=2", []),
        ("judge.devices_per_replica=2", []),
        ("judge.max_concurrent_loads=1", []),
        ("distributed.timeout_s=5", []),
        ("editor.latency_s=3", []),
        ("seed=7", []),
    ],
)
def test_a_judgments_unit_changes_with_all_that_decides_it_and_nothing_else(
    run: Run, override: str, changed: list[int]
) -> None:
    before, _ = run.find()
    after, _ = run.find(override)
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a.unit != b.unit] == changed


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("rubrics.physical.answer='Score: <number>'", []),
        ("rubrics.physical.answer_label='Score: <digit>'", [0, 5]),
        ("judge.labels={yes:10,no:0}", list(range(8))),
        ("judge.min_label_mass=0.9", list(range(8))),
    ],
)
def test_in_mode_expected_labels_and_their_least_probability_decide_too(
    run: Run, override: str, changed: list[int]
) -> None:
    before, _ = run.find("judge.mode=expected")
    after, _ = run.find("judge.mode=expected", override)
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a.unit != b.unit] == changed


def test_a_judgments_unit_changes_with_the_image(run: Run) -> None:
    before, _ = run.find()
    run.edit([4], shift=50)
    after, _ = run.find()
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a.unit != b.unit] == [4]


def test_batches_hold_one_category_and_similar_lengths_the_largest_first(run: Run) -> None:
    tasks, _ = run.find()
    assert [task.sample.index for task in tasks] == list(range(8))  # tasks stand in plan order
    for task in tasks:
        texts = len(task.sample.instruction + task.sample.description)
        assert task.length == round(task.edit.width * task.edit.height / 1024 + texts / 4)
    batches = cut_batches(tasks, 2)
    assert sorted(task.sample.index for batch in batches for task in batch) == list(range(8))
    assert [len({task.sample.category for task in batch}) for batch in batches] == [1] * len(batches)
    assert len(batches) == sum(-(-count // 2) for count in Counter(task.sample.category for task in tasks).values())
    sizes = [len(batch) * max(task.length for task in batch) for batch in batches]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 2
    for category in {task.sample.category for task in tasks}:
        ordered = sorted((task for task in tasks if task.sample.category == category), key=lambda task: task.place)
        assert [task.place for task in ordered] == list(range(len(ordered)))
        assert [task.length for task in ordered] == sorted(task.length for task in ordered)


def test_a_resumed_run_has_the_same_batches_less_what_is_done(tmp_path: Path) -> None:
    run = Run(tmp_path, ["physical"] * 7 + ["causal"] * 2)

    def batches() -> list[list[int]]:
        return [[task.sample.index for task in batch] for batch in cut_batches(run.find()[0], 3)]

    before = batches()
    assert sorted(map(len, before)) == [1, 2, 3, 3]
    done = {min(batch) for batch in before if len(batch) == 3}
    run.record([task for task in run.find()[0] if task.sample.index in done])
    after = batches()
    assert len(done) == 2 and sorted(after) == sorted([i for i in batch if i not in done] for batch in before)


def test_the_source_counts_as_length_where_the_judge_sees_it(run: Run) -> None:
    alone, both = (run.find(f"judge.compare_with_original={flag}")[0] for flag in ("false", "true"))
    assert [other.length - one.length for one, other in zip(alone, both, strict=True)] == [640 * 480 / 1024] * 8


def test_the_sink_appends_a_whole_line_per_judgment_and_status_counts_them(run: Run) -> None:
    session = Session(run.run_dir, Tally("score", 8, Counter(), 1.0), {"name": "fake"})
    sink = JudgmentSink(run.run_dir, "fake", [], session)
    replies = ["Score: 7"] * 5 + ["no number", "8-9"]
    judgments = run.judge(Scripted(lambda request: replies[request.index], bad=[7]), "judge.complete_replies=false")
    with session:
        sink.handle(judgments[4:])
        sink.handle(judgments[:4])
    sink.close()
    assert run.run_dir.read_judgments("fake") == {judgment.sample_id: judgment for judgment in judgments}
    assert len(run.run_dir.judgments_of("fake").read_bytes().splitlines()) == 8
    status = json.loads(run.run_dir.status_file.read_text())
    assert (status["phase"], status["state"], status["done"], status["failed"]) == ("score", "done", 8, 3)


def test_replies_that_cannot_be_parsed_never_stop_the_phase_but_a_failing_judge_does(run: Run) -> None:
    session = Session(run.run_dir, Tally("score", 8, Counter(), 0.1), {"name": "fake"})
    for _ in range(7):
        session.count("unparsed")
    with pytest.raises(UserError, match="1 of 8 samples failed in phase score"):
        session.count("judge_failed")


def test_the_fake_judge_depends_on_the_images_alone() -> None:
    def reply(*numbers: int, index: int = 0) -> str:
        request = Request(index, "s", "u", tuple(make_picture(number) for number in numbers))
        return FakeJudge(["cpu"]).reply([request])[0]

    assert reply(1) == reply(1, index=5)
    assert len({reply(1), reply(2), reply(1, 2), reply(2, 1)}) == 4


def test_the_fake_judge_gives_labels_by_pixels_or_from_a_list() -> None:
    labels = [str(digit) for digit in range(10)]
    requests = make_requests(3)
    by_pixels = FakeJudge(["cpu"]).label_probabilities(requests, labels)
    assert by_pixels == FakeJudge(["cpu"]).label_probabilities(requests, labels)
    assert len({tuple(row) for row in by_pixels}) == 3
    assert [round(sum(row), 9) for row in by_pixels] == [0.9] * 3
    listed = FakeJudge(["cpu"], replies=["7", "none", ["0", "1"]])
    assert listed.label_probabilities(requests, labels) == [one_hot(7), [0.0] * 10, one_hot(0)]


def test_the_fake_judge_replies_and_completes_from_a_list() -> None:
    judge = FakeJudge(["cpu"], replies=["7", ["no", "8"]])
    requests = make_requests(2)
    assert judge.reply(requests) == ["7", "no"]
    assert judge.reply([dataclasses.replace(request, wanted="number") for request in requests]) == ["7", "8"]
    with pytest.raises(ValueError, match=r"2 items, none for the sample at 2"):
        judge.reply(make_requests(3))
