"""A scheduler's warning: on SIGTERM or SIGUSR1 no new sample is started, what is done is kept, and the phase ends."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

from editbench.errors import PeerLostError

EXIT_PREEMPTED = 75
"""Exit code of a preempted worker (EX_TEMPFAIL in sysexits.h: try again later)."""

_SECONDS_FOR_A_SIGNAL = 2


class Preempted(BaseException):
    """A signal came while there was nothing to be finished."""


class Preemption:
    """Takes note of the signals instead of dying of them, while it is entered.

    Attributes:
        requested: Whether one has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    def __enter__(self) -> "Preemption":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGUSR1)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end the body where it stands.

        Raises:
            Preempted: one came before or in the body, whatever else the body raised then.
        """
        try:
            self._at_once = True
            if not self.requested:
                yield
        except (PeerLostError, RuntimeError):  # another rank may have ended by a signal that is still to come here
            self._at_once = False
            deadline = time.monotonic() + _SECONDS_FOR_A_SIGNAL
            while not self.requested and time.monotonic() < deadline:
                time.sleep(0.1)
            raise
        finally:
            self._at_once = False
            if self.requested:
                raise Preempted

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._at_once:
            self._at_once = False  # a second signal must not break into what the first one started
            raise Preempted
