"""Work behind an edit: it lets the edit begin first, and sources come in order, read one task ahead."""

import threading
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from editbench.datasets.sources import HeadStart, read_ahead


@pytest.mark.parametrize(("edit_s", "seconds"), [(30.0, 0.03), (0.1, 0.01), (0.0, 0.0)])
def test_work_waits_a_moment_but_no_more_than_a_tenth_of_an_edit(
    monkeypatch: pytest.MonkeyPatch, edit_s: float, seconds: float
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    head_start = HeadStart()
    work = head_start.before(lambda a, b: a - b)
    assert work(3, b=1) == 2
    head_start.expect(edit_s)
    assert work(5, 1) == 4
    assert slept == [0.0, pytest.approx(seconds)]


def test_a_source_is_read_while_the_task_before_is_at_work() -> None:
    tasks = [SimpleNamespace(sample=n) for n in range(3)]
    began = [threading.Event() for _ in tasks]

    def read(sample: int) -> Image.Image:
        began[sample].set()
        if sample == 1:
            raise ValueError("broken")
        return Image.new("RGB", (sample + 1, 1))

    seen = []
    for task, source in read_ahead([tasks[0], None, tasks[1], tasks[2]], read):
        if task is tasks[0]:
            seen.append(source().width)
        elif task is None:
            assert began[1].wait(10)  # the one behind it is being read
            assert not began[2].is_set()
            with pytest.raises(AssertionError):
                source()
        elif task is tasks[1]:
            assert began[2].wait(10)
            with pytest.raises(ValueError, match="broken"):
                source()
        else:
            seen.append(source().width)
    assert seen == [1, 3]
