"""The environment of a launcher: whole, or told in a sentence; and neighbours that do not come."""

from pathlib import Path

import pytest
from running import run_python

from editbench.distributed import rendezvous as meeting
from editbench.distributed.ranks import Ranks
from editbench.distributed.rendezvous import rendezvous
from editbench.errors import UserError

TWO = Ranks(0, 2, 0, 2)
WHOLE = [
    ({}, Ranks(0, 1, 0, 1)),
    ({"MASTER_ADDR": "a"}, Ranks(0, 1, 0, 1)),
    ({"RANK": "1", "WORLD_SIZE": "2"}, Ranks(1, 2, 0, 1)),
    ({"LOCAL_RANK": "1", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, Ranks(3, 4, 1, 2)),
]
BROKEN = [
    ({"WORLD_SIZE": "4"}, "has WORLD_SIZE=4, but no RANK; unset what another job has left .WORLD_SIZE."),
    ({"RANK": "0"}, "has RANK=0, but no WORLD_SIZE"),
    ({"LOCAL_RANK": "0"}, "but no RANK and no WORLD_SIZE and no LOCAL_WORLD_SIZE"),
    ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "but no LOCAL_WORLD_SIZE"),
    ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x, WORLD_SIZE=2: these must be whole numbers"),
    ({"RANK": "", "WORLD_SIZE": "2"}, "these must be whole numbers"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "a rank must be below the number of ranks"),
    ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "2"}, "a rank must be below"),
]


@pytest.mark.parametrize(("environ", "ranks"), WHOLE)
def test_a_whole_environment_is_read(environ: dict[str, str], ranks: Ranks) -> None:
    assert Ranks.from_env(environ) == ranks


@pytest.mark.parametrize(("environ", "says"), BROKEN)
def test_half_an_environment_is_told_in_a_sentence(environ: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Ranks.from_env(environ)


def test_a_command_in_half_an_environment_ends_at_once(tmp_path: Path) -> None:
    outcome = run_python(["-m", "editbench.edit", "editor=fake", "judge=fake"], tmp_path, WORLD_SIZE="4")
    assert outcome.code == 2, outcome.tail
    assert "the environment has WORLD_SIZE=4, but no RANK" in outcome.errors[0]


def test_neighbours_that_do_not_come_are_told_in_a_sentence(tmp_path: Path) -> None:
    overrides = ["editor=fake", "judge=fake", "run_dir=run", "distributed.timeout_s=1"]
    environ = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    outcome = run_python(["-m", "editbench.edit", *overrides], tmp_path, **environ)
    assert outcome.code == 2, outcome.tail
    assert "Traceback" not in outcome.output
    assert "RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=0: the other ranks did not come" in outcome.errors[0]
    assert "unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT" in outcome.errors[0]


def test_a_wait_without_an_end_of_its_own_is_ended_and_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(meeting, "_meet", lambda *_: None)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(meeting, "_SECONDS_OF_GRACE", 0)
    with pytest.raises(UserError, match=r"the other ranks did not come within distributed\.timeout_s=0"):
        rendezvous(TWO, 0)
    assert "RANK=0 WORLD_SIZE=2" in caplog.text and "waiting for the other ranks" in caplog.text


def test_another_failure_to_meet_is_told_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_meet", lambda met, *_: met.put(RuntimeError("address already in use\nframes")))
    with pytest.raises(UserError, match=r"the other ranks cannot be met \(address already in use\); start all ranks"):
        rendezvous(TWO, 60)
