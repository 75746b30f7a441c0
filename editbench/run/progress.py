"""Progress of a phase, shown on rank 0."""

import logging
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from editbench import logs

PLAIN_LINE_EVERY_S = 30.0

logger = logging.getLogger(__name__)


class ProgressDisplay:
    """Progress of a phase on rank 0: bars on a terminal, else one plain line every 30 s.

    Args:
        phase: What is going on, e.g. `edit`.
        total: Samples in all.
        done: Samples done before this start.
    """

    def __init__(self, phase: str, total: int, done: int) -> None:
        self._phase, self._total = phase, total
        self._done_before = done
        self._started = self._last_line = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[states]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=logs.console(),
            disable=not logs.console().is_terminal,
        )
        self._all = self._bars.add_task(phase, total=total, completed=done, states="")
        self._own = self._bars.add_task("steps of rank 0", total=None, states="", visible=False)

    def start(self) -> None:
        """Show the bars from now on."""
        self._bars.start()

    def update(self, done: int, states: str) -> None:
        """Show how many samples are done, and how many of them in which state."""
        self._bars.update(self._all, completed=done, states=states)
        now = time.monotonic()
        if self._bars.disable and now - self._last_line >= PLAIN_LINE_EVERY_S:
            self._last_line = now
            new = done - self._done_before
            left = f"{(now - self._started) / new * (self._total - done):.0f} s left" if new else "time left unknown"
            logger.info("%s: %d of %d done, %s, %s", self._phase, done, self._total, states, left)

    def step(self, done: int, total: int) -> None:
        """Show the denoising steps of rank 0's own image."""
        self._bars.update(self._own, completed=done, total=total, visible=True)

    def stop(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()
