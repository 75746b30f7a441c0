"""A scheduler's warning: on SIGTERM or SIGUSR1 no new sample is started, what is done is kept, and the phase ends."""

import signal
from types import FrameType

EXIT_PREEMPTED = 75
"""Exit code of a preempted worker (EX_TEMPFAIL: start again later)."""


class Preemption:
    """Notes the signals instead of dying of them.

    Attributes:
        requested: Whether one has come.
    """

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
