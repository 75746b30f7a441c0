"""Several edits at a time on one rank: how many, what becomes of each, and what a server that puts off is sent."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmark_file import make_record
from edit_server import Answer, Painter, painting

from editbench.config import load as configuration
from editbench.editors.chains import ChainSources, chains_of, edit_by_edit
from editbench.editors.images_edits import ImagesEditsEditor
from editbench.editors.loop import edit_at_once, edit_one_by_one, edits_at_once
from editbench.errors import ServerError, UserError
from editbench.plan import ensure_plan
from editbench.run.folder import RunDir
from editbench.run.records import EditTask, to_dict
from editbench.todo import find_edit_tasks

WAIT_S = 20.0
"""What a test waits for comes at once, or is not to come."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editbench.gate.FIRST_WAIT_S", 0.01)


class Edits:
    """The chains of a planned run, edited with a server."""

    def __init__(self, folder: Path, follows: Iterable[str | None]) -> None:
        """One sample for each entry, `0` to …, each following the one that its entry names."""
        records = []
        for number, before in enumerate(follows):
            made = make_record(number, "物理", str(number))
            records.append(made if before is None else {**made, "src_img_b64": None, "follows": before})
        (folder / "bench.json").write_text(json.dumps(records), encoding="utf-8")
        places = [f"dataset.path={folder / 'bench.json'}", f"run_dir={folder / 'run'}"]
        self.config = configuration.load([*places, "dataset=json_file", "editor=fake", "judge=fake"])
        self.run_dir = RunDir(self.config.run_dir)
        self.run_dir.create()
        plan = ensure_plan(self.config, self.run_dir)
        self.tasks = find_edit_tasks(self.config, self.run_dir, plan, None).tasks
        self.put: list[tuple[dict[str, Any], bytes | None]] = []
        self.turns_end_with_error_at: int | None = None

    def edit(
        self, painter: Painter, concurrency: int, stopping: Callable[[], bool] = lambda: False, **settings: Any
    ) -> dict[str, tuple[dict[str, Any], bytes | None]]:
        """Edit all; returns record and PNG by sample id."""
        editor = ImagesEditsEditor("cpu", painter.url, "painter", None, True, concurrency=concurrency, **settings)
        editor.stop_when(stopping)
        sources = ChainSources(self.config, self.run_dir, self.tasks)
        self.put = []

        def put(finished: Callable[[], Any]) -> None:
            edit, png = finished()
            record = to_dict(edit)
            del record["latency_s"]
            self.put.append((record, png))

        def turns() -> Iterable[tuple[list[EditTask], None]]:
            for number, chain in enumerate(chains_of(self.tasks)):
                if stopping():
                    return
                if number == self.turns_end_with_error_at:
                    raise OSError("the way to the other ranks")
                yield chain, None

        if concurrency == 1:
            edit_one_by_one(editor, edit_by_edit(turns(), stopping), sources, put, lambda _done, _total: None)
        else:
            edit_at_once(editor, turns(), sources, put, stopping)
        found = {record["sample_id"]: (record, png) for record, png in self.put}
        assert len(found) == len(self.put)
        return found


def test_as_many_edits_as_wanted_are_in_flight_and_never_more(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def all_there(_painter: Painter, _instruction: str) -> None:
        together.wait(WAIT_S)  # breaks if not four come: the connection ends then, and no edit is made

    with painting(all_there) as painter:
        found = Edits(tmp_path, [None] * 12).edit(painter, 4, max_retries=0)
        assert {record["state"] for record, _ in found.values()} == {"edited"}
        assert max(painter.beside) == 4 and len(painter.asked) == len(found) == 12


def test_four_at_a_time_take_far_less_time_than_one(tmp_path: Path) -> None:
    edits, took = Edits(tmp_path, [None] * 16), {}
    with painting() as painter:
        painter.latency_s = 0.1
        for concurrency in (1, 4):
            began = time.monotonic()
            edits.edit(painter, concurrency)
            took[concurrency] = time.monotonic() - began
    assert took[4] < 0.6 * took[1]


CHAINS = [None, None, "0", None, "1", "2", None, "2", None, "8"]
"""0 2 5 7, 1 4, 3, 6, 8 9."""


def test_every_record_and_picture_is_the_same_however_many_are_made_at_a_time(tmp_path: Path) -> None:
    def refuse(_painter: Painter, instruction: str) -> Answer | None:
        return Answer(400, {}) if instruction in ("Change picture 3.", "Change picture 8.") else None

    edits = Edits(tmp_path, CHAINS)
    with painting(refuse) as painter:
        painter.latency_s = 0.01
        one, four = edits.edit(painter, 1), edits.edit(painter, 4)
        assert max(painter.beside) > 1
    assert one == four and len(one) == 10
    assert {name for name, (record, _) in four.items() if record["state"] == "edit_failed"} == {"3", "8", "9"}
    assert four["9"][0]["error_type"] == "EarlierTurnError"
    for turn, before in enumerate(CHAINS):
        if before not in (None, "8"):
            assert four[str(turn)][0]["follows_sha256"] == four[before][0]["sha256"]
    order = [record["sample_id"] for record, _ in edits.put]
    assert all(order.index(before) < order.index(str(turn)) for turn, before in enumerate(CHAINS) if before)


def test_an_edit_is_put_as_soon_as_it_is_there(tmp_path: Path) -> None:
    edits = Edits(tmp_path, [None] * 6)

    def last_of_all(painter: Painter, instruction: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while instruction == "Change picture 0." and len(edits.put) < 5 and time.monotonic() < deadline:
            time.sleep(0.005)

    with painting(last_of_all) as painter:
        edits.edit(painter, 2)
    assert [record["sample_id"] for record, _ in edits.put][-1] == "0"


def test_once_it_is_to_stop_nothing_is_begun_and_what_is_in_flight_is_kept(tmp_path: Path) -> None:
    edits, together, stop = (
        Edits(tmp_path, [None, "0", None, None, None, None]),
        threading.Barrier(3),
        threading.Event(),
    )

    def all_there(_painter: Painter, _instruction: str) -> None:
        together.wait(WAIT_S)
        stop.set()

    with painting(all_there) as painter:
        found = edits.edit(painter, 3, stop.is_set, max_retries=0)
        assert len(painter.asked) == 3
    assert sorted(found) == ["0", "2", "3"]  # not the second turn of the chain either
    assert {record["state"] for record, _ in found.values()} == {"edited"}


def test_a_server_that_ends_the_run_costs_no_edit_that_it_answers(tmp_path: Path) -> None:
    edits, together, refused = Edits(tmp_path, [None, None, "1", None, None, None]), threading.Barrier(4), []

    def refuse(_painter: Painter, instruction: str) -> Answer | None:
        together.wait(WAIT_S)
        if instruction == "Change picture 0.":
            refused.append(instruction)
            return Answer(401, {})
        deadline = time.monotonic() + 0.2  # so that the refusal is there first
        while time.monotonic() < deadline:
            time.sleep(0.01)
        return None

    with painting(refuse) as painter:
        with pytest.raises(ServerError, match="the server wants a key"):
            edits.edit(painter, 4, max_retries=0)
        assert len(painter.asked) == 4  # neither the other samples nor the next turn
    assert sorted(record["sample_id"] for record, _ in edits.put) == ["1", "3", "4"]


def test_a_server_that_puts_all_off_is_asked_by_one_at_a_time_until_it_answers_again(tmp_path: Path) -> None:
    together = threading.Barrier(4)
    lock, came = threading.Lock(), []

    def put_off(painter: Painter, instruction: str) -> Answer | None:
        with lock:
            came.append(instruction)
            number = len(came)
        if number <= 4:
            together.wait(WAIT_S)
            return Answer(429, {"Retry-After": "0.05"})
        if number <= 6:
            time.sleep(0.3)  # far longer than the wait that all four were told
            return Answer(429, {"Retry-After": "0.05"})
        if number == 7:
            time.sleep(0.3)
        return None

    with painting(put_off) as painter:
        found = Edits(tmp_path, [None] * 8).edit(painter, 4)
        assert painter.beside[4:7] == [1, 1, 1]
        assert len(painter.asked) == 8 + 4 + 2
        assert max(painter.beside[7:]) > 1  # then more go on
    assert {record["state"] for record, _ in found.values()} == {"edited"}


def test_a_server_that_takes_fewer_at_a_time_is_no_reason_to_give_up(tmp_path: Path) -> None:
    def one_alone(painter: Painter, _instruction: str) -> Answer | None:
        if not working.acquire(blocking=False):
            return Answer(429, {})
        time.sleep(0.15)
        working.release()
        return None

    working = threading.Lock()
    with painting(one_alone) as painter:
        found = Edits(tmp_path, [None] * 8).edit(painter, 4, max_retries=0)
    assert {record["state"] for record, _ in found.values()} == {"edited"}


def test_a_server_that_takes_nothing_more_ends_the_run_after_the_tries_of_one(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def full(painter: Painter, _instruction: str) -> Answer:
        if len(painter.asked) <= 4:
            together.wait(WAIT_S)
        return Answer(429, {})

    with painting(full) as painter:
        with pytest.raises(ServerError, match=r"takes no more after \d tries"):
            Edits(tmp_path, [None] * 8).edit(painter, 4, max_retries=3)
        assert 4 + 3 <= len(painter.asked) <= 4 + 4


@pytest.mark.parametrize("after_s", [None, "0.1"])
def test_a_server_that_takes_fewer_at_a_time_is_kept_busy_and_asked_little_more(
    tmp_path: Path, after_s: str | None
) -> None:
    def three(_painter: Painter, _instruction: str) -> Answer | None:
        if not working.acquire(blocking=False):
            return Answer(429, {} if after_s is None else {"Retry-After": after_s})
        time.sleep(0.3)
        working.release()
        return None

    working, edits = threading.Semaphore(3), Edits(tmp_path, [None] * 24)
    with painting(three) as painter:
        began = time.monotonic()
        edits.edit(painter, 4)
        took = time.monotonic() - began
    assert took < 1.5 * 24 / 3 * 0.3
    assert len(painter.asked) < 24 + 8


@pytest.mark.parametrize("concurrency", [1, 4])
def test_nobody_waits_for_a_server_once_it_is_to_stop(tmp_path: Path, concurrency: int) -> None:
    stop = threading.Event()

    def later(painter: Painter, instruction: str) -> Answer | None:
        if instruction in ("Change picture 0.", "Change picture 1."):
            return None
        deadline = time.monotonic() + WAIT_S
        while len(painter.answered) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        threading.Timer(0.3, stop.set).start()  # when all wait
        return Answer(429, {"Retry-After": "60"})

    edits = Edits(tmp_path, [None] * 8)
    with painting(later) as painter:
        began = time.monotonic()
        found = edits.edit(painter, concurrency, stop.is_set)
        assert time.monotonic() - began < 10
    assert len(found) == 2 and {record["state"] for record, _ in found.values()} == {"edited"}


def test_what_ends_the_turns_costs_no_edit_that_is_in_flight(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    edits = Edits(tmp_path, [None, "0", None, None])
    edits.turns_end_with_error_at = 2
    with painting() as painter:
        painter.latency_s = 0.5
        with pytest.raises(OSError, match="the way to the other ranks"):
            edits.edit(painter, 4)
        assert len(painter.asked) == 2
    assert sorted(record["sample_id"] for record, _ in edits.put) == ["0", "2"]
    assert "waiting for 2 edits in flight" in caplog.messages


@pytest.mark.parametrize("concurrency", [None, "4", 0, -1, 2.0, True])
def test_a_number_of_edits_at_a_time_that_is_none_is_told(concurrency: Any) -> None:
    editor = SimpleNamespace(concurrency=concurrency)
    with pytest.raises(UserError, match=r"types\.SimpleNamespace has concurrency=.*make it a whole number from 1"):
        edits_at_once(editor)
    assert (edits_at_once(SimpleNamespace()), edits_at_once(SimpleNamespace(concurrency=3))) == (1, 3)
