"""Bytes come to rank 0 whole, once and not in heaps; and no failure leaves the other ranks waiting."""

import json
from pathlib import Path
from typing import Any

import pytest
from running import torchrun

WORKER = str(Path(__file__).with_name("gather_worker.py"))


@pytest.fixture(scope="module", params=[1, 2, 3])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank saw, with 1, 2 and 3 processes."""
    folder = tmp_path_factory.mktemp(f"world{request.param}")
    outcome = torchrun(request.param, [WORKER, "everything", str(folder)], folder, timeout_s=90)
    assert outcome.code == 0, outcome.tail
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(request.param)]


@pytest.mark.parametrize("case", ["unequal", "none_elsewhere", "only_rank_0", "none_at_all"])
def test_every_payload_reaches_rank_0_once_and_whole(seen: list[dict[str, Any]], case: str) -> None:
    sent = [digest for rank in seen for digest in rank[case]["sent"]]
    assert sorted(seen[0][case]["arrived"]) == sorted(sent)
    assert not any(rank[case]["arrived"] for rank in seen[1:])


def test_put_blocks_while_rank_0_is_slow(seen: list[dict[str, Any]]) -> None:
    held = seen[0]["held"]
    assert held["all_put_early"] == [False]
    assert len(held["ahead"]) == 12
    # one at rank 0, one being made or sent, one waiting; and the count may lag behind a put by one
    assert max(held["ahead"]) <= 3


def test_all_ranks_get_rank_0s_value(seen: list[dict[str, Any]]) -> None:
    for rank in seen:
        assert rank["given"] == {"文": ["x" * 100_000, None, 1.5]}
        assert rank["nothing_given"] is None


def test_all_ranks_get_rank_0s_refusal(seen: list[dict[str, Any]]) -> None:
    assert [rank["refused"] for rank in seen] == ["rank 0 does not want this"] * len(seen)


def test_all_ranks_get_all_values_in_rank_order(seen: list[dict[str, Any]]) -> None:
    values = [{"rank": rank, "text": "é" * 1000 * rank} for rank in range(len(seen))]
    assert all(rank["gathered"] == values for rank in seen)


def test_the_first_rank_of_a_node_works_before_the_others(seen: list[dict[str, Any]]) -> None:
    others = [f"found by {rank}: filled by 0" for rank in range(1, len(seen))]
    assert [rank["node_first"] for rank in seen] == ["filled by 0", *others]


def test_all_leave_a_barrier_knowing_whether_any_rank_wants_to_stop(seen: list[dict[str, Any]]) -> None:
    assert [rank["stopping"] for rank in seen] == [[False, True, False, True]] * len(seen)


def test_no_rank_misses_in_hundreds_of_barriers_that_another_wants_to_stop(seen: list[dict[str, Any]]) -> None:
    assert [rank["missed"] for rank in seen] == [0] * len(seen)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_never_more_ranks_load_at_once_than_the_limit(seen: list[dict[str, Any]], limit: int) -> None:
    inside = [rank["loading"][str(limit)]["inside"] for rank in seen]
    turns = [rank["loading"][str(limit)]["turn"] for rank in seen]
    assert max(inside) == min(limit, len(seen))  # reached, and not exceeded
    for turn in set(turns):  # each turn begins with nobody inside
        assert sorted(i for i, t in zip(inside, turns, strict=True) if t == turn) == [*range(1, turns.count(turn) + 1)]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("handle", "no space left on the device"),
        ("handle_in_barrier", "no space left on the device"),
        ("handle_at_exit", "no space left on the device"),
        ("make", "this payload cannot be made"),
        ("rank", "this rank is broken"),
    ],
)
def test_a_failure_ends_all_ranks_soon(tmp_path: Path, where: str, said: str) -> None:
    outcome = torchrun(2, [WORKER, where, str(tmp_path)], tmp_path, timeout_s=60)
    assert outcome.code != 0, outcome.tail
    assert said in outcome.output, outcome.tail


def test_a_rank_0_that_plans_for_too_long_is_named_with_what_it_is_at(tmp_path: Path) -> None:
    outcome = torchrun(2, [WORKER, "silent", str(tmp_path)], tmp_path, timeout_s=90)
    assert outcome.code != 0
    said = "rank 0 did not reach the end of the planning within distributed.timeout_s=2"
    assert (tmp_path / "rank1.txt").read_text().startswith(said), outcome.tail
