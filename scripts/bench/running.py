"""Starts commands as a user does, and watches their memory."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

CHECKOUT = Path(__file__).resolve().parents[2]
CONF_DIR = Path(__file__).parent / "conf"
LINES_SHOWN = 4

_ERROR = re.compile(r"(\[rank\d+\]: )?(error: |[\w.]*(Error|Exception)\b)")
"""A line that says what went wrong: the command's own sentence, or the end of a traceback."""


@dataclass(frozen=True)
class Settings:
    """What every part is told.

    Attributes:
        folder: Where it may write; removed at the end.
        repeats: How often each side of a comparison runs.
        quick: Small numbers, to see that it works; the figures mean nothing then.
        overrides: Hydra overrides for the part `gpu`.
    """

    folder: Path
    repeats: int = 3
    quick: bool = False
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        wall_s: Seconds from start to end.
        output: What it printed.
        peak_bytes: Peak resident memory of the process, under torchrun of rank 0; pages of files included, such as
            those of torch's libraries.
        own_bytes: The most that was seen of it without pages of files.
    """

    wall_s: float
    output: str
    peak_bytes: int
    own_bytes: int


class CommandError(Exception):
    """A command that should have succeeded did not."""


def run(arguments: list[str], folder: Path) -> Outcome:
    """Run Python with these arguments.

    Raises:
        CommandError: it failed; its last lines say why.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watch = PeakMemory(process.pid)
    try:
        with watch:
            output, _ = process.communicate()
    except BaseException:
        process.terminate()  # torchrun passes it on to its workers
        process.wait()
        raise
    wall_s = time.perf_counter() - began
    if process.returncode:
        errors = [line for line in output.splitlines() if _ERROR.match(line)]
        lines = errors[:1] or output.splitlines()[-LINES_SHOWN:]
        raise CommandError(f"exit code {process.returncode}: " + " / ".join(line.strip() for line in lines))
    return Outcome(wall_s, output, watch.peak_bytes, watch.own_bytes)


def torchrun(world_size: int, arguments: list[str], folder: Path) -> Outcome:
    """Run a module or script on several processes of this machine."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world_size}"]
    return run([*launcher, *arguments], folder)


def phase(name: str, world_size: int, run_dir: Path, overrides: list[str]) -> Outcome:
    """Run the edit or score phase under torchrun, with the stand-ins' YAMLs at hand."""
    return torchrun(world_size, phase_arguments(name, run_dir, overrides), run_dir.parent)


def phase_arguments(name: str, run_dir: Path, overrides: list[str]) -> list[str]:
    """The command line of a phase, from `-m` on."""
    return ["-m", f"editbench.{name}", "--config-dir", str(CONF_DIR), f"run_dir={run_dir}", *overrides]


def environment() -> dict[str, str]:
    """Environment of the commands: one thread each, no network, this checkout and `bench` importable."""
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    paths = [str(CHECKOUT), str(CHECKOUT / "scripts"), *filter(None, [kept.get("PYTHONPATH")])]
    ours = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}
    return kept | ours


class Watch:
    """Calls `look` every `every_s` seconds in a thread, while it is entered."""

    every_s: float

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self.every_s):
            self.look()

    def look(self) -> None:
        """Measure once."""
        raise NotImplementedError


class PeakMemory(Watch):
    """Watches a command's memory: its own, or under torchrun that of the worker with rank 0.

    The kernel keeps the peak (VmHWM), so looking every 50 ms misses only what is new in a process's last 50 ms. For
    what is not of files (RssAnon) it keeps none, so short peaks of that are missed.
    """

    every_s = 0.05

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._rank_0: int | None = None
        self.peak_bytes = self.own_bytes = 0

    def look(self) -> None:
        """Take the peaks so far; a process that has just ended has none."""
        with contextlib.suppress(psutil.Error, OSError):
            if self._rank_0 is None and (found := _find_rank_0(self._pid)):
                self._rank_0, self.peak_bytes, self.own_bytes = found, 0, 0
            sizes = memory_kib(self._rank_0 or self._pid, "status")
            self.peak_bytes = max(self.peak_bytes, sizes.get("VmHWM", 0) * 1024)
            self.own_bytes = max(self.own_bytes, sizes.get("RssAnon", 0) * 1024)


def memory_kib(pid: int | str, file: str) -> dict[str, int]:
    """Read the sizes in /proc/<pid>/status or smaps_rollup, in KiB."""
    lines = [line.split() for line in Path(f"/proc/{pid}/{file}").read_text().splitlines()]
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def _find_rank_0(pid: int) -> int | None:
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.environ().get("RANK") == "0":
                return child.pid
    return None


def read_logs(folder: Path, event: str) -> list[dict[str, Any]]:
    """Read what the stand-ins of `stand_ins.py` wrote down about themselves."""
    files = {file.stem: file.read_text().splitlines() for file in folder.glob("*.jsonl")}
    events = [json.loads(line) | {"file": file} for file, lines in files.items() for line in lines]
    return [entry for entry in events if entry["event"] == event]
