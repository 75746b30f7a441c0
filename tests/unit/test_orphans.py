"""Ranks whose torchrun is gone: asked to end first, ended if they do not, and left alone otherwise."""

import os
import signal
import threading

import pytest

from editbench.distributed import orphans
from editbench.distributed.orphans import ending_with_launcher
from editbench.distributed.preemption import Preemption
from editbench.errors import EXIT_PEER_LOST

WAIT_S = 20


class Launcher:
    """What `os.getppid` tells: torchrun, or once it is killed another process."""

    def __init__(self):
        self.number, self.asked_for, self.polled = 4711, 0, threading.Event()

    def parent_now(self):
        self.asked_for += 1
        if self.asked_for > 3:
            self.polled.set()
        return self.number

    def kill(self):
        self.number = 1


@pytest.fixture
def launcher(monkeypatch):
    """This process as torchrun has started it."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr(orphans, "POLL_S", 0.01)
    launcher = Launcher()
    monkeypatch.setattr(os, "getppid", launcher.parent_now)
    return launcher


@pytest.fixture
def ended(monkeypatch):
    """Set when the process would be ended; what was done until then."""
    happened, over = [], threading.Event()

    def end(code):
        happened.append(code)
        over.set()

    monkeypatch.setattr(os, "_exit", end)
    return happened, over


def test_an_orphan_is_asked_to_end_and_may_finish_what_it_is_at(launcher, ended):
    asked = threading.Event()
    with Preemption() as preemption:
        handler = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *of: (handler(*of), asked.set()))
        with ending_with_launcher(lambda: ended[0].append("given up")):
            assert launcher.polled.wait(WAIT_S) and not asked.is_set()  # as long as torchrun lives
            launcher.kill()
            assert asked.wait(WAIT_S)
            assert preemption.requested
    assert ended[0] == []


def test_an_orphan_that_does_not_end_is_ended(launcher, ended, monkeypatch):
    monkeypatch.setattr(orphans, "GRACE_S", 0.0)
    happened, over = ended
    with Preemption(), ending_with_launcher(lambda: happened.append("given up")):
        launcher.kill()
        assert over.wait(WAIT_S)
    assert happened == ["given up", EXIT_PEER_LOST]


def test_a_process_that_torchrun_did_not_start_may_change_its_parent(launcher, ended, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    before = threading.active_count()
    with ending_with_launcher(lambda: None):
        assert threading.active_count() == before
