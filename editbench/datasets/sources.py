"""Work behind an edit: the next source is read while one is edited, and no such work keeps an edit from beginning."""

import concurrent.futures
import time
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from PIL import Image

from editbench.run.records import Sample
from editbench.todo import EditTask

P = ParamSpec("P")
Result = TypeVar("Result")
ReadSource = Callable[[], Image.Image]


class HeadStart:
    """Holds work back for a moment, so that the edits which it is to be hidden behind have begun on all ranks.

    Ranks leave a barrier together, and there are often more ranks than cores: whoever comes second would wait for the
    encoding and decoding of whoever came first, and all of them for him at the next barrier.
    """

    LONGEST_S = 0.03
    SHARE = 0.1
    """Of the edit before: short edits need the time for the work itself."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def expect(self, edit_s: float) -> None:
        """Say how many seconds the edit before took."""
        self._seconds = min(self.LONGEST_S, self.SHARE * edit_s)

    def before(self, work: Callable[P, Result]) -> Callable[P, Result]:
        """Make work wait for that moment first; for background threads."""

        def wait_and_work(*args: P.args, **kwargs: P.kwargs) -> Result:
            time.sleep(self._seconds)
            return work(*args, **kwargs)

        return wait_and_work


def read_ahead(
    turns: Iterable[EditTask | None], read: Callable[[Sample], Image.Image]
) -> Iterator[tuple[EditTask | None, ReadSource]]:
    """Give each task with its source image, which is read and decoded while the task before is at work."""
    with concurrent.futures.ThreadPoolExecutor(1, "read") as reader:
        waiting: tuple[EditTask | None, ReadSource] | None = None
        for task in turns:
            following = (task, reader.submit(read, task.sample).result if task else _no_source)
            if waiting:
                yield waiting
            waiting = following
        if waiting:
            yield waiting


def _no_source() -> Image.Image:
    raise AssertionError("there is no task in this round")
