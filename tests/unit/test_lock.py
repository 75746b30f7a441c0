"""Who works in a run folder: a holder that works is named at once, one whose launcher is gone is waited for."""

import os
import platform
import time

import pytest

from editbench.errors import UserError
from editbench.run import lock
from editbench.run.folder import RunDir
from editbench.run.lock import hold

NO_PROCESS = 2**22 + 1
"""Above the largest number that Linux gives to a process."""


@pytest.fixture
def started_by(monkeypatch):
    """Makes this process look as if torchrun, as the process of this number, had started it."""

    def set_launcher(number: int) -> None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setattr(os, "getppid", lambda: number)

    return set_launcher


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Turns a wait for the holder into an error; tests that expect one set their own."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))


@pytest.mark.parametrize("launched", [False, True])
def test_a_holder_that_works_is_named_at_once(tmp_path, started_by, monkeypatch, launched):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    if launched:
        started_by(os.getppid())
    with hold(tmp_path, "phase edit"):
        who = rf"phase edit, process {os.getpid()} on {platform.node()}, Slurm job 77.*, since 20\d\d-\S+"
        with pytest.raises(UserError, match=rf"is in use by {who}; wait until it has ended, or give another run_name"):
            hold(tmp_path, "phase score")
    hold(tmp_path, "phase score").close()  # it is free again


def test_a_holder_that_lost_its_launcher_is_waited_for(tmp_path, started_by, monkeypatch, caplog):
    started_by(NO_PROCESS)
    orphan = hold(tmp_path, "phase edit")
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            orphan.close()

    monkeypatch.setattr(time, "sleep", wait)
    with hold(tmp_path, "phase score"):
        assert len(waited) == 3
        assert "phase score" in (tmp_path / ".lock").read_text()
    assert caplog.text.count("waiting up to 30 s for phase edit, process") == 1


def test_the_wait_for_an_orphan_has_a_limit(tmp_path, started_by, monkeypatch):
    started_by(NO_PROCESS)
    monkeypatch.setattr(time, "sleep", lambda _: monkeypatch.setattr(lock, "WAIT_S", -1.0))
    with (
        hold(tmp_path, "phase edit"),
        pytest.raises(UserError, match="launcher is gone and which did not end within 30 s"),
    ):
        hold(tmp_path, "phase score")


@pytest.mark.parametrize(
    ("holder", "waits"),
    [
        (f"phase edit, process {NO_PROCESS} on {platform.node()}, since 2026", True),  # it is being torn down
        (f"phase edit, process {NO_PROCESS} on another-node, started by process 1, since 2026", False),
        ("", False),  # it has not written who it is yet
    ],
)
def test_only_what_is_known_to_end_is_waited_for(tmp_path, monkeypatch, holder, waits):
    monkeypatch.setattr(time, "sleep", lambda _: monkeypatch.setattr(lock, "WAIT_S", -1.0))
    with hold(tmp_path, "phase edit"):
        (tmp_path / ".lock").write_text(holder)
        with pytest.raises(UserError, match=f"in use by {holder or 'another process'}") as refused:
            hold(tmp_path, "phase score")
    assert ("did not end within" in str(refused.value)) is waits


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    run = RunDir(tmp_path)
    run.create()
    run.lock("edit")
    assert "cannot be locked (Operation not supported); do not start two phases on it at once" in caplog.text
