"""Several replies to one request: seeds that depend on the sample alone, one score of them all, no more samples."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_score import Run, Scripted

from editbench.components.check import check_components
from editbench.config import load as configuration
from editbench.config.load import load
from editbench.errors import UserError
from editbench.judges.base import Request
from editbench.judges.fake import FakeJudge
from editbench.judges.repeats import mean_and_spread, merge
from editbench.run.records import Judgment

WARM = "judge.temperature=0.5"
THREE = "judge.repeats=3"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


class Draws(Scripted):
    """A judge that replies by the request and the seed, and keeps the seeds that it was given."""

    def __init__(self, reply: Any = lambda request, seed: f"Score: {seed % 10001 / 1000}", bad: Sequence[int] = ()):
        super().__init__(bad=bad)
        self._draw = reply
        self.seeds: dict[tuple[int, str], list[int]] = {}
        self.prepared = 0

    def prepare(self, requests: Sequence[Request]) -> tuple[Request, ...]:
        self.prepared += 1
        return super().prepare(requests)

    def reply(self, prepared: tuple[Request, ...], seeds: Sequence[int] | None = None) -> list[str]:
        assert seeds is not None
        super().reply(prepared)
        for request, seed in zip(prepared, seeds, strict=True):
            self.seeds.setdefault((request.index, request.wanted), []).append(seed)
        return [self._draw(request, seed) for request, seed in zip(prepared, seeds, strict=True)]


def test_mean_and_spread_are_of_the_scores_that_were_read() -> None:
    assert mean_and_spread([4.0, None, 7.0, 10.0]) == (7.0, 3.0)
    assert mean_and_spread([1.0, 2.0]) == (1.5, round(math.sqrt(0.5), 6))
    assert mean_and_spread([None, 6.5]) == (6.5, None)
    assert mean_and_spread([None, None]) == mean_and_spread([]) == (None, None)


def test_one_judgment_is_made_of_several() -> None:
    def said(state: Any, score: float | None = None, **fields: Any) -> Judgment:
        return Judgment("a", "physical", state, "unit", "sha", score, **fields)

    merged = merge([said("unparsed", reply="hm", completion="?"), said("scored", 8.0, reply="Score: 8")])
    assert (merged.state, merged.score, merged.spread, merged.scores) == ("scored", 8.0, None, [None, 8.0])
    assert (merged.replies, merged.completions) == (["hm", "Score: 8"], ["?", None])
    assert (merged.reply, merged.completion, merged.error) == ("hm", "?", None)
    failed = said("judge_failed", error_type="E", error="gone")
    assert merge([said("scored", 3.0), failed]).state == "scored"
    assert merge([said("scored", 3.0), failed]).error == "gone"
    assert merge([said("unparsed"), failed]).state == "unparsed"
    assert (merge([failed, failed]).state, merge([failed, failed]).scores) == ("judge_failed", [None, None])


def test_each_sample_is_judged_with_seeds_of_its_own_and_counts_once(run: Run) -> None:
    judge = Draws()
    judgments = run.judge(judge, WARM, THREE)
    assert len(judgments) == 8 and judge.prepared == 1
    for index, judgment in enumerate(judgments):
        seeds = judge.seeds[index, "reply"]
        scores = [seed % 10001 / 1000 for seed in seeds]
        assert judgment.scores == scores and len(set(seeds)) == 3
        assert judgment.score == round(math.fsum(scores) / 3, 6)
        assert judgment.spread == mean_and_spread(scores)[1] > 0
        assert judgment.replies == [f"Score: {score}" for score in scores]
    assert len({seed for seeds in judge.seeds.values() for seed in seeds}) == 24


@pytest.mark.parametrize("bad", [[], [3, 6]])
def test_replies_do_not_depend_on_the_batch_its_order_or_its_failures(run: Run, bad: list[int]) -> None:
    whole = run.judge(Draws(bad=bad), WARM, THREE)
    tasks = run.find(WARM, THREE)[0]
    draws = [([tasks[i] for i in part], None) for part in ([7, 2, 5], [4], [1, 0, 6, 3])]
    parts = run.batch_judge(Draws(bad=bad), WARM, THREE).run(draws)
    by_id = {judgment.sample_id: judgment for judgments in parts for judgment in judgments}
    for judgment in whole:
        other = by_id[judgment.sample_id]
        assert (judgment.scores, judgment.replies, judgment.state) == (other.scores, other.replies, other.state)
    failed = [judgment for judgment in whole if judgment.state == "judge_failed"]
    assert [(judgment.scores, judgment.score) for judgment in failed] == [([None] * 3, None)] * len(bad)


def test_a_repeat_without_a_score_is_completed_alone_by_another_seed(run: Run) -> None:
    judge = Draws(lambda request, seed: "4" if request.wanted == "number" else "hm" if request.index == 2 else "7")
    judgments = run.judge(judge, WARM, "judge.repeats=2")
    assert (judgments[2].score, judgments[2].spread, judgments[2].completions) == (4.0, 0.0, ["4", "4"])
    assert judgments[1].completions == [None, None]
    assert [key for key in judge.seeds if key[1] == "number"] == [(2, "number")]
    assert len({*judge.seeds[2, "number"], *judge.seeds[2, "reply"]}) == 4


def test_nothing_read_is_unparsed(run: Run) -> None:
    judgment = run.judge(Draws(lambda *_: "no"), WARM, "judge.repeats=2")[0]
    assert (judgment.state, judgment.score, judgment.spread, judgment.scores) == ("unparsed", None, None, [None, None])


def test_a_control_is_drawn_by_seeds_of_its_own(run: Run) -> None:
    tasks = run.find(WARM, "score.controls=1")[0]
    chosen = next(task.sample.index for task in tasks if task.control)
    judge = Draws()
    (judgments,) = run.batch_judge(judge, WARM).run([([t for t in tasks if t.sample.index == chosen], None)])
    assert len(judgments) == 7 and len(set(judge.seeds[chosen, "reply"])) == 7


def test_without_a_temperature_no_seed_is_given_and_one_reply_is_no_list(run: Run) -> None:
    assert all(judgment.scores is None and judgment.replies is None for judgment in run.judge(Scripted()))
    (judgment, *_) = run.judge(Draws(), WARM)
    assert (judgment.scores, judgment.spread) == (None, None) and judgment.score is not None


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([THREE], "judge.repeats=3 needs a judge that draws its replies, and judge.temperature is 0.0"),
        ([THREE, WARM, "judge.mode=expected"], "judge.mode=expected reads probabilities and draws nothing"),
        ([WARM, "judge.mode=expected"], "judge.temperature=0.5 and judge.repeats=1 have no effect"),
        (["judge.repeats=0"], "judge.repeats=0: must be a whole number from 1"),
        (["score.controls=-1"], "score.controls=-1: must be"),
    ],
)
def test_repeats_that_would_all_be_the_same_are_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError) as refusal:
        configuration.load(["judge=fake", *overrides])
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_no_judge_takes_a_temperature_below_0() -> None:
    with pytest.raises(UserError, match=r"judge\.temperature=-1: must be a number from 0"):
        check_components(load(["judge=fake", "editor=fake", "dataset.path=x.json", "judge.temperature=-1"]))


def test_temperature_and_repeats_are_part_of_a_unit_and_temperature_0_is_not(run: Run) -> None:
    units = {
        tuple(task.unit for task in run.find(*overrides)[0])
        for overrides in ([], ["judge.temperature=0"], [WARM], [WARM, THREE], [WARM, "judge.repeats=2"])
    }
    assert len(units) == 4
    assert [task.unit for task in run.find()[0]] == [task.unit for task in run.find("~judge.temperature")[0]]


def test_the_fake_judge_draws_by_seed_with_a_temperature_alone() -> None:
    def reply(temperature: float, seed: int) -> str:
        request = Request(0, "s", "u", ())
        return FakeJudge(["cpu"], temperature=temperature).reply([request], [seed])[0]

    assert reply(0.5, 1) == reply(0.5, 1) != reply(0.5, 2)
    assert reply(0.0, 1) == reply(0.0, 2)
