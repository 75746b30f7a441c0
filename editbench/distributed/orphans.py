"""The end of ranks whose launcher is gone: torchrun killed outright (SIGKILL, out of memory) leaves them running.

Such a rank holds its GPU and, as rank 0, the run folder; nobody waits for it, and the store that torchrun kept is gone.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

from editbench.errors import EXIT_PEER_LOST

POLL_S = 1.0
GRACE_S = 20.0
"""How long an orphan may take to finish what it is at; less than another start waits for it, see `run/lock.py`."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def ending_with_launcher(give_up: Callable[[], None]) -> Iterator[None]:
    """Let this process end soon after the torchrun that started it, while the body runs.

    It gets SIGTERM first, so that a phase ends as when it is preempted. A process started otherwise is left alone.

    Args:
        give_up: Called before the process is ended in the midst of its work.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    left = threading.Event()
    watch = threading.Thread(target=_watch, args=(os.getppid(), left, give_up), daemon=True)
    watch.start()
    try:
        yield
    finally:
        left.set()
        watch.join()  # what it holds must not be freed by a thread while the interpreter ends


def _watch(launcher: int, left: threading.Event, give_up: Callable[[], None]) -> None:
    while os.getppid() == launcher:  # an orphan is given to another parent at once
        if left.wait(POLL_S):
            return
    logger.warning("torchrun (process %d) is gone; no more is started here, and the process ends", launcher)
    os.kill(os.getpid(), signal.SIGTERM)
    if not left.wait(GRACE_S):
        logger.error("the work in progress did not end within %g s after torchrun; it is given up", GRACE_S)
        give_up()
        os._exit(EXIT_PEER_LOST)
