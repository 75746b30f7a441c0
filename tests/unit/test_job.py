"""What a job does around its loop, on stand-ins for the other ranks."""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from editbench import job as module
from editbench.job import Job
from editbench.run.session import SilentSession


@pytest.mark.parametrize("requested", [True, False])
def test_a_rank_that_was_signalled_lets_no_rank_draw_any_more(monkeypatch: pytest.MonkeyPatch, requested: bool) -> None:
    """Its loop may have left the draws in the middle, and the others would go on for hours."""
    stopped: list[bool] = []
    monkeypatch.setattr(module, "Gather", lambda *_: contextlib.nullcontext())
    one = Job.__new__(Job)
    one.ranks = SimpleNamespace(rank=1)
    one.session = SimpleNamespace(fail=None)
    one._preemption = SimpleNamespace(requested=requested)
    one.group = SimpleNamespace(
        stop_drawing=lambda: stopped.append(True), meet=lambda *_, **__: requested, on_rank_0=lambda *_: requested
    )
    with one.results(lambda: pytest.fail("only rank 0 has a sink")):
        assert not stopped
    assert stopped == [True] * requested and one.preempted == requested


def test_what_is_loaded_can_tell_that_the_phase_is_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for a server, for minutes."""
    told: list[Callable[[], bool]] = []
    served = SimpleNamespace(stop_when=told.append, describe=dict)
    monkeypatch.setattr(module, "construct", lambda *_, **__: served)
    one = Job.__new__(Job)
    one.phase, one.checkpoint, one.settings, one.session = "score", None, None, SilentSession()
    one.config = SimpleNamespace(judge=SimpleNamespace(max_concurrent_loads=1))
    one.ranks = SimpleNamespace(world_size=1)
    one._preemption = SimpleNamespace(requested=False)
    one.group = SimpleNamespace(loading_turn=lambda _: contextlib.nullcontext(), all_gather=lambda value: [value])
    assert one.load(["cpu"]) is served
    assert not told[0]()
    one._preemption.requested = True
    assert told[0]()
