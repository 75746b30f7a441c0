"""One edit after another on a rank, or several at a time where the editor is a server that does the work elsewhere."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from editbench.editors.base import AsksAtOnce, Editor, HasPictures
from editbench.editors.chains import ChainSources, Encoded, edit_by_edit
from editbench.editors.one_sample import edit_one
from editbench.run.records import EditTask

Put = Callable[[Encoded], None]
Turns = Iterable[tuple[list[EditTask], list[EditTask] | None]]


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
        Exception: what ends the phase in any of the edits, as soon as the others in flight are there and put.
    """
    errors: list[BaseException] = []
    putting = threading.Lock()

    def make(chain: list[EditTask]) -> None:
        own = sources.apart()
        try:
            for drawn, _ in edit_by_edit([(chain, None)], lambda: bool(errors) or stopping()):
                task, read = own.take(drawn, None)
                edit, image = edit_one(editor, task, read, _not_shown)
                finished = own.keep(edit, image)
                with putting:
                    put(finished)
        except BaseException as error:
            errors.append(error)

    in_flight: set[Future[None]] = set()
    pool = ThreadPoolExecutor(editor.concurrency, "edit")
    for chain, _ in turns:
        if errors:
            break
        in_flight.add(pool.submit(make, chain))
        if len(in_flight) == editor.concurrency:
            _, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
        if errors:  # before a meeting of all ranks, to which the others may be long in coming
            break
    wait(in_flight)
    pool.shutdown()
    if errors:
        raise errors[0]


def _not_shown(_done: int, _total: int) -> None:
    """The steps of several edits at a time are no bar."""
