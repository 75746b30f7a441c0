"""One edit after another on a rank, or several at a time where the editor is a server that does the work elsewhere."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from editbench.editors.base import AsksAtOnce, Editor, HasPictures
from editbench.editors.chains import ChainSources, Encoded, edit_by_edit
from editbench.editors.one_sample import edit_one
from editbench.errors import StoppedError, UserError
from editbench.run.records import EditTask

logger = logging.getLogger(__name__)

Put = Callable[[Encoded], None]
Turns = Iterable[tuple[list[EditTask], list[EditTask] | None]]


def edits_at_once(editor: Any) -> int:
    """How many edits an editor is asked for at a time.

    Raises:
        UserError: its `concurrency` is no whole number from 1.
    """
    concurrency = getattr(editor, "concurrency", 1)
    if type(concurrency) is int and concurrency >= 1:
        return concurrency
    error = UserError(
        f"editor: {type(editor).__module__}.{type(editor).__name__} has concurrency={concurrency!r}; make it a whole "
        "number from 1, or leave it out"
    )
    error.on_all_ranks = True
    raise error


def edit_one_by_one(
    editor: Editor | HasPictures,
    edits: Iterable[tuple[EditTask, EditTask | None]],
    sources: ChainSources,
    put: Put,
    on_step: Callable[[int, int], None],
) -> None:
    """Edit one image at a time, each on its way to rank 0 behind the next edit.

    Args:
        editor: The editor.
        edits: Each task, with the one behind it.
        sources: Give the source images.
        put: Takes what an edit has become.
        on_step: Called with (steps done, steps in all).
    """
    finished = None
    for drawn, following in edits:
        task, source = sources.take(drawn, following)
        if finished:  # encoded behind this edit: before the barrier it would take cores from ranks on their way
            put(finished)
            finished = None
        with contextlib.suppress(StoppedError):  # the rest of its chain is not begun either
            edit, image = edit_one(editor, task, source, on_step)
            finished = sources.keep(edit, image)
    if finished:
        put(finished)


def edit_at_once(
    editor: AsksAtOnce,
    turns: Turns,
    sources: ChainSources,
    put: Put,
    stopping: Callable[[], bool],
) -> None:
    """Edit chains, `editor.concurrency` at a time, each in a thread of its own and its edits in order.

    Args:
        editor: The editor.
        turns: This rank's chains; the next one is taken when there is room for it.
        sources: Give the source images.
        put: Takes what an edit has become as soon as it is there; called by one thread at a time.
        stopping: Once it gives true, nothing more is begun.

    Raises:
        Exception: what ends the phase, in `turns` or in any of the edits, as soon as the others in flight are there
            and put.
    """
    errors: list[BaseException] = []
    putting = threading.Lock()

    def ending() -> bool:
        return bool(errors) or stopping()

    def make(chain: list[EditTask]) -> None:
        own = sources.apart()
        try:
            for drawn, _ in edit_by_edit([(chain, None)], ending):
                task, read = own.take(drawn, None)
                edit, image = edit_one(editor, task, read, _not_shown)
                finished = own.keep(edit, image)
                with putting:
                    put(finished)
        except StoppedError:
            return
        except BaseException as error:
            errors.append(error)

    if hasattr(editor, "stop_when"):
        editor.stop_when(ending)
    in_flight: set[Future[None]] = set()
    pool = ThreadPoolExecutor(editor.concurrency, "edit")
    try:
        for chain, _ in turns:
            if errors:
                break
            in_flight.add(pool.submit(make, chain))
            if len(in_flight) == editor.concurrency:
                _, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
            if errors:  # before a meeting of all ranks, to which the others may be long in coming
                break
    except BaseException as error:  # what is in flight is asked for: it is put as far as the other ranks are there
        errors.append(error)
    if errors and (left := sum(not edit.done() for edit in in_flight)):
        logger.warning("waiting for %d edits in flight", left)
    wait(in_flight)
    pool.shutdown()
    if errors:
        raise errors[0]


def _not_shown(_done: int, _total: int) -> None:
    """The steps of several edits at a time are no bar."""
