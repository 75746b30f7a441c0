"""What both phases do with ranks: join, lock, plan on rank 0, load in turns, share out work, bring results home.

Nothing here knows of editing or judging. Off rank 0 session and sink are silent objects, so the phases read the same on
all ranks.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from editbench import logs
from editbench.components.load import construct, find_checkpoint
from editbench.config.schema import ComponentConfig, Config
from editbench.distributed import devices
from editbench.distributed.gather import Gather
from editbench.distributed.group import process_group
from editbench.distributed.orphans import ending_with_launcher
from editbench.distributed.preemption import EXIT_PREEMPTED, Preemption
from editbench.distributed.ranks import Ranks
from editbench.run.folder import RunDir
from editbench.run.session import Session, SilentSession, describe_component
from editbench.run.tally import Tally
from editbench.todo import Todo

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes results as they arrive on rank 0, one at a time."""

    def handle(self, result: Any) -> None:
        """Write one result."""
        ...

    def close(self) -> None:
        """Finish what is being written."""
        ...


class SilentSink:
    """Stands for the sink on the other ranks."""

    def handle(self, result: Any) -> None:
        """Take nothing."""

    def close(self) -> None:
        """Nothing is open."""


class Job:
    """One start of a phase, as one of its ranks sees it. Use as a context manager.

    Args:
        phase: `edit` or `score`.
        config: The run.

    Attributes:
        settings: Configuration of the editor or judge.
        checkpoint: Its checkpoint, found or fetched once on each node; None if it has none.
        ranks: Who this process is.
        group: The job's processes.
        folder: The run folder.
        session: What this start has done so far, on record on rank 0.
        preempted: Whether the phase ended before it was done, because of a signal.
    """

    def __init__(self, phase: str, config: Config) -> None:
        self.phase, self.config = phase, config
        self.settings: ComponentConfig = config.editor if phase == "edit" else config.judge
        self.ranks = Ranks.from_env()
        self.folder = RunDir(config.run_dir)
        self.session = SilentSession()
        self.preempted = False
        self._preemption = Preemption()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            opened.push(self._preemption)  # to the end of the group, but not while ranks are waited for
            opened.enter_context(ending_with_launcher(lambda: self.session.fail()))
            self.group = opened.enter_context(process_group(self.ranks, self.config.distributed))
            self._preemption.__enter__()
            logs.set_up(self.phase, self.ranks.rank, self.folder.create(), self.config.log_level)
            fetch = f"the download of {self.settings.kwargs.get('checkpoint')}"
            self.checkpoint = self.group.node_first(lambda: find_checkpoint(self.settings, download=True), fetch)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return bool(self._open.__exit__(kind, error, traceback))

    @property
    def exit_code(self) -> int:
        """0, or the code that tells a scheduler to start the job again."""
        return EXIT_PREEMPTED if self.preempted else 0

    def stopping(self) -> bool:
        """Whether a signal has asked this rank to begin nothing more."""
        return self._preemption.requested

    def take_stock(self, find: Callable[[], Todo[Any, Any]]) -> Todo[Any, Any]:
        """Let rank 0 lock the run folder and find what is to be done; all get the tasks, what is kept stays there."""
        kept: list[Any] = []

        def lock_and_find() -> list[Any]:
            self.folder.lock(self.phase)
            todo = find()
            if not todo.tasks:
                self.folder.write_status(self._tally(todo), "done")
                logger.info("nothing is left to %s (failed samples are tried again with retry_failed=true)", self.phase)
            kept.extend(todo.kept)
            return todo.tasks

        return Todo(self.group.on_rank_0(lock_and_find, "the planning"), kept)

    def check_failures(self, todo: Todo[Any, Any]) -> None:
        """Refuse to go on where too much has failed in earlier starts."""
        self._tally(todo).check()

    def _tally(self, todo: Todo[Any, Any]) -> Tally:
        return Tally(self.phase, todo.total, todo.states, self.config.max_failed, todo.controls)

    def begin(self, todo: Todo[Any, Any]) -> None:
        """Put on record, on rank 0, that the phase works now, and with what."""
        if self.ranks.rank == 0:
            session = Session(self.folder, self._tally(todo), describe_component(self.settings, self.checkpoint))
            self.session = self._open.enter_context(session)

    def load(self, on: list[str], **recorded: Any) -> Any:
        """Construct the editor or the judge, in turns with the other ranks of the node.

        Args:
            on: This rank's devices; empty if it gets nothing to do.
            **recorded: What else is known of this start by now.

        Returns:
            The editor or judge; None without a device, or where a signal came before.
        """
        is_edit = self.phase == "edit"
        limit = self.config.edit.max_concurrent_loads if is_edit else self.config.judge.max_concurrent_loads
        model = None
        began = time.monotonic()
        with self.group.loading_turn(limit):
            if on and not self.stopping():
                devices.use(on[0])
                placement: dict[str, Any] = {"device": on[0]} if is_edit else {"devices": on}
                model = construct(self.settings, "editor" if is_edit else "judge", self.checkpoint, **placement)
                if hasattr(model, "stop_when"):
                    model.stop_when(self.stopping)
        everywhere = self.group.all_gather(devices.describe(on))
        recorded |= {"world_size": self.ranks.world_size, "devices": everywhere}
        recorded["load_s"] = round(time.monotonic() - began, 3)
        if model is not None:
            recorded["load_peak_gib"] = devices.peak_gib(on[0])
            self.session.loaded(model.describe(), **recorded)
        return model

    @contextlib.contextmanager
    def results(self, open_sink: Callable[[], Sink]) -> Iterator[Gather]:
        """Bring what ranks put to rank 0's sink; behind it, all have met, and it is known whether anything is missing.

        Args:
            open_sink: Called on rank 0.
        """
        sink = open_sink() if self.ranks.rank == 0 else SilentSink()
        with Gather(self.group, sink.handle, self.session.fail) as self._gather:
            yield self._gather
            if self._preemption.requested:
                self.group.stop_drawing()
        stopped = self.group.meet(self._preemption.requested, after="the phase")
        sink.close()
        self.preempted = self.group.on_rank_0(lambda: self.session.is_preempted(stopped), "the phase")

    def turns(self, tasks: Sequence[Item], sync_every: int) -> Iterator[tuple[Item, Item | None]]:
        """Give this rank its share: rank r of n every n-th task from r on, and the one behind it, to be prepared.

        All ranks meet after every `sync_every` rounds of one task each (0: never). With such meetings a signal to any
        rank ends the turns of all.
        """
        mine = tasks[self.ranks.rank :: self.ranks.world_size]
        for number in range(math.ceil(len(tasks) / self.ranks.world_size)):
            if self._preemption.requested and not sync_every:
                return
            if number < len(mine) and not self._preemption.requested:
                yield mine[number], mine[number + 1] if number + 1 < len(mine) else None
            if sync_every and (number + 1) % sync_every == 0 and self._gather.meet(self._preemption.requested):
                self._preemption.requested = True
                return

    def draws(self, what: str, items: Sequence[Item]) -> Iterator[tuple[Item, Item | None]]:
        """Give this rank items that no other has, as `Group.draw` does, until there are no more or a signal comes.

        A signal to any rank ends the draws of all, once that one leaves `results`.
        """
        for item, following in self.group.draw(what, items):
            if self._preemption.requested:
                break
            yield item, following
