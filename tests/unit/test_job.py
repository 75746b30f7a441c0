"""What a job does around its loop, on stand-ins for the other ranks."""

import contextlib
from types import SimpleNamespace

import pytest

from editbench import job as module
from editbench.job import Job


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
