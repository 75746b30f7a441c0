"""A scheduler's warning: on SIGTERM or SIGUSR1 no new sample is started, what is done is kept, and the phase ends."""

import signal
from types import FrameType

EXIT_PREEMPTED = 75
"""Exit code of a preempted worker (EX_TEMPFAIL in sysexits.h: try again later)."""


class Preemption:
    """Takes note of the signals instead of dying of them, while it is entered.

    Attributes:
        requested: Whether one has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Preemption":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGUSR1)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
