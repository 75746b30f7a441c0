"""What people see while a phase runs: log files, the console, tables and progress.

Rank 0 speaks at INFO, the other ranks from WARNING; every rank has a file of its own under `logs/`.
"""

import logging
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from editbench.records import Sample
from editbench.redaction import hide
from editbench.run_dir import Plan

PLAIN_LINE_EVERY_S = 30.0
MAX_ROWS = 40

logger = logging.getLogger(__name__)
_console = Console()


def console() -> Console:
    """The console that tables, logs and progress share."""
    return _console


def set_up(phase: str, rank: int, folder: Path | None, level: str) -> None:
    """Send the log to the console from `level` on and, if `folder` is given, all of it to a file of this rank."""
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk is told once, by what needs it, not by every line of a log
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    logging.getLogger("editbench").setLevel(logging.DEBUG)
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    plain = PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    on_console: logging.Handler = logging.StreamHandler()
    on_console.setFormatter(plain)
    if _console.is_terminal:
        on_console = RichHandler(console=_console, show_path=False, log_time_format="%H:%M:%S")
        on_console.setFormatter(PrintableFormatter("%(message)s"))
    on_console.setLevel(level if rank == 0 else logging.WARNING)
    root.addHandler(on_console)
    if folder is not None:
        to_file = logging.FileHandler(folder / f"{phase}-rank{rank:03d}.log", encoding="utf-8")
        to_file.setFormatter(plain)
        root.addHandler(to_file)


def adopt(*libraries: str) -> None:
    """Let libraries that log by handlers of their own, raw, log as everything else: their messages can hold prompts."""
    for name in libraries:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


def plan_table(plan: Plan) -> Table:
    """Samples per category."""
    table = Table(title=f"{len(plan.samples)} samples planned" + f", {len(plan.skipped)} skipped" * bool(plan.skipped))
    table.add_column("category")
    table.add_column("samples", justify="right")
    for category, count in sorted(Counter(sample.category for sample in plan.samples).items()):
        table.add_row(escape(category), str(count))
    return table


def assignment_table(shares: list[list[Sample]], what: str) -> Table:
    """Which rank does which samples."""
    table = Table(title=f"{what}: {sum(map(len, shares))} samples on {len(shares)} ranks", expand=True)
    table.add_column("rank", justify="right")
    table.add_column("samples", justify="right")
    table.add_column("which", overflow="ellipsis", no_wrap=True, ratio=1)
    for rank, share in enumerate(shares[:MAX_ROWS]):
        shown = ", ".join(sample.sample_id for sample in share[:6]) + (", …" if len(share) > 6 else "")
        table.add_row(str(rank), str(len(share)), escape(printable(shown)))
    if len(shares) > MAX_ROWS:
        table.add_row("…", "", f"and {len(shares) - MAX_ROWS} ranks more")
    return table


def printable(text: str, kept: str = "") -> str:
    """Replace control characters but those kept, so that text from files and models cannot act in a terminal."""
    return "".join(
        character if character.isprintable() or character in kept else "\N{REPLACEMENT CHARACTER}" for character in text
    )


class PrintableFormatter(logging.Formatter):
    """Keeps tracebacks and messages from acting in a terminal, or from passing for lines of the log: those begin at
    the margin, what is in them does not."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; further lines are indented."""
        return hide(printable(super().format(record), kept="\n\t")).replace("\n", "\n    ")


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
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=_console,
            disable=not _console.is_terminal,
        )
        self._all = self._bars.add_task(phase, total=total, completed=done, facts="")
        self._own = self._bars.add_task("steps of rank 0", total=None, facts="", visible=False)
        self._bars.start()

    def update(self, done: int, facts: str) -> None:
        """Show how many samples are done, and what else is known of them."""
        self._bars.update(self._all, completed=done, facts=facts)
        now = time.monotonic()
        if self._bars.disable and now - self._last_line >= PLAIN_LINE_EVERY_S:
            self._last_line = now
            new = done - self._done_before
            left = f"{(now - self._started) / new * (self._total - done):.0f} s left" if new else "time left unknown"
            logger.info("%s: %d of %d done, %s, %s", self._phase, done, self._total, facts, left)

    def step(self, done: int, total: int) -> None:
        """Show the denoising steps of rank 0's own image."""
        self._bars.update(self._own, completed=done, total=total, visible=True)

    def stop(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()
