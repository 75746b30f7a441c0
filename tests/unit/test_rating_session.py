"""What a rater is asked, in which order, and what of it stands in the file at any moment."""

import os
from collections import Counter

import pytest
from rating_page import edited, pairs, rows, session, singles

from editbench.errors import UserError
from editbench.ratings.questions import COLUMNS, Question, arrange, pair_edits
from editbench.ratings.ratings_file import RatingsFile
from editbench.ratings.session import OutdatedError


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_sides_are_balanced_at_every_point_of_the_order(n):
    arranged = arrange(pairs(n), "ann", seed=3, samples=None)
    left = [question.left for question in arranged]
    for end in range(n + 1):
        counts = Counter(left[:end])
        assert abs(counts["base"] - counts["other"]) <= 1
    assert sorted(q.sample_id for q in arranged) == sorted(f"s{i}" for i in range(n))


def test_which_side_comes_first_and_the_order_follow_from_seed_and_rater():
    def order(rater, seed):
        return [(q.sample_id, q.left) for q in arrange(pairs(40), rater, seed, None)]

    assert order("ann", 1) == order("ann", 1)
    assert len({tuple(order(rater, seed)) for rater in ("ann", "bob") for seed in (1, 2)}) == 4
    first_of_two = Counter(side for _, side in order("ann", 1)[::2])
    assert min(first_of_two.values()) >= 4, "not alternating: 20 tosses"


def test_all_raters_are_given_the_same_samples():
    chosen = [{q.sample_id for q in arrange(singles(50), rater, 5, 10)} for rater in ("ann", "bob")]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 10
    assert {q.sample_id for q in arrange(singles(50), "ann", 6, 10)} != chosen[0]
    assert len(arrange(singles(3), "ann", 0, 10)) == 3


def test_pairs_are_of_the_same_sample_source_and_instruction():
    other = [edited("a"), edited("b"), edited("new")]
    base = [edited("b", "old"), edited("a", "old"), edited("gone", "old")]
    base[0].edit.input = "another"
    (pair,) = pair_edits(base, other)
    assert (pair.sample_id, pair.images()) == ("a", {"image_sha256": "a-new", "base_sha256": "a-old"})
    with pytest.raises(UserError, match="no edit of the same sample"):
        pair_edits(base[:1], other)


@pytest.mark.parametrize(
    ("left", "answer", "preference"),
    [("base", "left", -1), ("base", "right", 1), ("other", "left", 1), ("other", "right", -1), ("other", "tie", 0)],
)
def test_a_preference_is_for_the_other_run_whatever_the_side(left, answer, preference):
    question = Question(edited("a"), edited("a", "old"), left)
    shown = question.shown()
    assert shown["left"] is (question.base if left == "base" else question.other)
    row = question.row(answer)
    assert (row["preference"], row["left"], row["base_sha256"]) == (preference, left, "a-old")


@pytest.mark.parametrize("answer", [-1, 11, 5.0, "5", True, None, "left"])
def test_what_is_no_answer_is_not_written(tmp_path, answer):
    asked = session(tmp_path / "r.csv", singles(1))
    with pytest.raises(ValueError, match="whole number from 0 to 10"):
        asked.answer(0, answer)
    assert rows(tmp_path / "r.csv") == []
    with pytest.raises(ValueError, match="left, right or tie"):
        pairs(1)[0].row(answer if answer != "left" else 3)


def test_each_answer_is_written_at_once_and_only_to_the_current_question(tmp_path):
    path = tmp_path / "new folder" / "r.csv"
    asked = session(path, singles(3))
    state = asked.answer(0, 10)
    assert [(row["sample_id"], row["rater"], row["score"]) for row in rows(path)] == [("s0", "ann", "10")]
    assert rows(path)[0] | {"rated_at": ""} == {
        "sample_id": "s0",
        "source": "ab" * 8,
        "image_sha256": "s0-new",
        "rater": "ann",
        "score": "10",
        "rated_at": "",
    }
    assert (state["rated"], state["total"], state["question"]["number"], state["next"]["number"]) == (1, 3, 1, 2)
    for number in (0, 2, 7):
        with pytest.raises(OutdatedError):
            asked.answer(number, 5)
    assert len(rows(path)) == 1


def test_undo_takes_back_answers_of_this_session_one_by_one(tmp_path):
    path = tmp_path / "r.csv"
    session(path, singles(3)).answer(0, 1)
    asked = session(path, singles(3))
    before = path.read_bytes()
    assert asked.state()["can_undo"] is False and asked.undo()["rated"] == 1, "what is of before stays"
    asked.answer(1, 2)
    asked.answer(2, 3)
    assert asked.undo()["question"]["number"] == 2
    state = asked.undo()
    assert (state["question"]["number"], state["rated"], state["can_undo"]) == (1, 1, False)
    assert path.read_bytes() == before
    asked.answer(1, 9)
    assert [row["score"] for row in rows(path)] == ["1", "9"]


def test_the_next_start_asks_what_this_rater_has_not_rated_of_these_images(tmp_path):
    path = tmp_path / "r.csv"
    first = session(path, singles(4))
    first.answer(0, 5)
    first.skip(1)
    first.answer(2, 5)
    assert first.state()["skipped"] == 1 and first.state()["rated"] == 2
    first._ratings.close()
    again = session(path, singles(4))
    assert (again.state()["question"]["number"], again.state()["rated"]) == (1, 2), "what was skipped is asked again"
    again._ratings.close()
    other = session(path, singles(4), rater="bob")
    assert other.state()["rated"] == 0
    other._ratings.close()
    edited_anew = [Question(edited("s0", run="newer")), *singles(4)[1:]]
    assert session(path, edited_anew).state()["question"]["number"] == 0


def test_when_all_is_rated_nothing_is_asked(tmp_path):
    asked = session(tmp_path / "r.csv", singles(1))
    state = asked.answer(0, 0)
    assert (state["question"], state["next"], state["rated"]) == (None, None, 1)
    with pytest.raises(OutdatedError):
        asked.answer(0, 0)


def test_a_torn_last_line_is_cut_off_and_hostile_names_keep_to_their_cell(tmp_path):
    path = tmp_path / "r.csv"
    name = 'a,"b\N{SNOWMAN}=1+1'
    first = session(path, [Question(edited(name))], rater='an"n')
    first.answer(0, 4)
    first._ratings.close()
    with path.open("ab") as file:
        file.write("torn,\N{SNOWMAN}".encode()[:-1])
    asked = session(path, [Question(edited(name))], rater='an"n')
    assert asked.state()["rated"] == 1 and path.read_bytes().endswith(b"\n")
    assert rows(path)[0]["sample_id"] == name


def test_a_file_of_another_form_or_in_use_is_left_alone(tmp_path):
    path = tmp_path / "r.csv"
    held = RatingsFile(path, COLUMNS["single"])
    with pytest.raises(UserError, match="is being written to by another process"):
        RatingsFile(path, COLUMNS["single"])
    held.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="has the columns"):
        RatingsFile(path, COLUMNS["pair"])
    assert path.read_bytes() == before
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(UserError, match="cannot be read as CSV"):
        RatingsFile(path, COLUMNS["single"])
    with pytest.raises(UserError, match="cannot be written to"):
        RatingsFile(tmp_path, COLUMNS["single"])


def test_a_rating_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    asked = session(path, singles(2))
    asked.answer(0, 1)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            asked.answer(1, 2)
    assert path.read_bytes() == before and asked.state()["question"]["number"] == 1
    asked.answer(1, 3)
    assert [row["score"] for row in rows(path)] == ["1", "3"]
