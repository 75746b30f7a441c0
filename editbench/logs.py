"""What people see while a phase runs: log files, the console, tables and progress.

Rank 0 speaks at INFO, the other ranks from WARNING; every rank has a file of its own under `logs/`.
"""

import logging
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from editbench.text import hide, printable

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


class PrintableFormatter(logging.Formatter):
    """Keeps tracebacks and messages from acting in a terminal, or from passing for lines of the log: those begin at
    the margin, what is in them does not."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; further lines are indented."""
        return hide(printable(super().format(record), kept="\n\t")).replace("\n", "\n    ")
