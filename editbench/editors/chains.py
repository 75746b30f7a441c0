"""Chains of edits, each made of the image that the one before has become: one rank makes all of a chain, in order."""

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from PIL import Image

from editbench import images
from editbench.config.schema import Config
from editbench.datasets.base import check_instruction
from editbench.datasets.sources import ReadSources, Sources
from editbench.editors.one_sample import encode
from editbench.errors import EarlierTurnError
from editbench.run.folder import RunDir
from editbench.run.records import Edit, EditTask
from editbench.run.shards import read_edited

Encoded = Callable[[], tuple[Edit, bytes | None]]


def chains_of(tasks: Sequence[EditTask]) -> list[list[EditTask]]:
    """Put tasks that follow each other together, each behind the one it follows; any other stands alone.

    Args:
        tasks: In plan order. One that follows an edit which is there already begins a chain.

    Returns:
        The chains, in the order of their first tasks.
    """
    chains: list[list[EditTask]] = []
    of_sample: dict[str, list[EditTask]] = {}
    for task in tasks:
        chain = of_sample.get(task.sample.follows or "")
        if chain is None:
            chain = []
            chains.append(chain)
        chain.append(task)
        of_sample[task.sample.sample_id] = chain
    return chains


def edit_by_edit(
    turns: Iterable[tuple[list[EditTask], list[EditTask] | None]], stopping: Callable[[], bool]
) -> Iterator[tuple[EditTask, EditTask | None]]:
    """Go through chains, one edit at a time.

    Args:
        turns: Chains, each with the one behind it, if that is known.
        stopping: Once it gives true, a chain ends between two of its edits; the rest is for the next start.

    Yields:
        Each task, with the one behind it.
    """
    for chain, following in turns:
        for number, task in enumerate(chain):
            if number and stopping():
                break
            then = chain[number + 1] if number + 1 < len(chain) else following and following[0]
            yield task, then or None


class ChainSources:
    """Gives the source images of tasks: those of the dataset, or in a chain what the edit before has made.

    Args:
        config: The run: its dataset, and what sources are accepted.
        run_dir: Where the edits of earlier starts are.
        tasks: All that are to be edited.
    """

    def __init__(self, config: Config, run_dir: RunDir, tasks: Sequence[EditTask]) -> None:
        self._sources = Sources(config.dataset, config.source)
        self._limits, self._run_dir = config.source, run_dir
        self._followed = {task.sample.follows for task in tasks}
        self._made: dict[str, tuple[Edit, Image.Image | None]] = {}

    def apart(self) -> "ChainSources":
        """One more that remembers what a chain has become, for one that is made at the same time."""
        other = copy.copy(self)
        other._made = {}
        return other

    def take(self, task: EditTask, then: EditTask | None) -> tuple[EditTask, ReadSources]:
        """Give a task with the edit that it follows, and what returns its sources or raises what is wrong with them.

        Args:
            task: The task.
            then: The one behind it, whose source is read meanwhile if it comes from the dataset.
        """
        ahead = then.sample if then and not then.sample.follows else None
        if task.sample.follows is None or task.before:
            self._made.clear()
        if task.sample.follows is None:
            return task, self._sources.take(task.sample, ahead)
        if ahead:
            self._sources.begin(ahead)
        image = None
        if task.before is None:
            before, image = self._made[task.sample.follows]
            task = dataclasses.replace(task, before=before)
        return task, functools.partial(self._read, task, image)

    def keep(self, edit: Edit, image: Image.Image | None) -> Encoded:
        """Keep an edit that others follow, and return what gives the record and its PNG."""
        if edit.sample_id not in self._followed:
            return functools.partial(encode, edit, image)
        _, png = encode(edit, image)  # at once: the digest of what was edited stands in the record of the next
        edit.sha256 = None if png is None else hashlib.sha256(png).hexdigest()
        self._made[edit.sample_id] = (edit, image)
        return lambda: (edit, png)

    def _read(self, task: EditTask, image: Image.Image | None) -> list[Image.Image]:
        """The edited image that a task follows, as it was made or from the shard that it went into."""
        before = task.before
        if before is None or before.sha256 is None:
            cause = f"{before.state}: {before.error_type}: {before.error}" if before else "not edited"
            raise EarlierTurnError(f"{task.sample.follows!r}, which it follows, has no edited image ({cause})")
        check_instruction(task.sample.for_editor, self._limits)
        return [image or images.decode_rgb(read_edited(self._run_dir.edits, before))]
