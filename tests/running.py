"""Starts the commands as a user does, each in a process of its own with a limit of time."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

CHECKOUT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 180
SHOWN_CHARACTERS = 6000


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code, and all that it printed."""

    code: int
    output: str

    @property
    def tail(self) -> str:
        return f"exit code {self.code}; the output ends with:\n{self.output[-SHOWN_CHARACTERS:]}"

    @property
    def errors(self) -> list[str]:
        """The lines that tell the user what is wrong."""
        return re.findall(r"^error: .*", self.output, re.M)


def run_python(
    arguments: list[str], folder: Path, timeout_s: float = TIMEOUT_S, real: bool = False, **environment: str
) -> Outcome:
    """Run Python with these arguments in a folder; a command that hangs is ended with all its children.

    It is a fork of a process that has imported everything (see warm_starts.py), unless it has to be a real start; `-c`
    and another PYTHONPATH always are.
    """
    with tempfile.NamedTemporaryFile(prefix="output-") as output:
        start = _start if real or arguments[0] == "-c" or "PYTHONPATH" in environment else _fork
        pid, ended = start(arguments, folder, _environment(environment), output.name)
        try:
            code, hangs = ended.result(timeout_s), False
        except TimeoutError:
            hangs = True
            os.kill(pid, signal.SIGTERM)  # torchrun passes it on to its workers
            try:
                code = ended.result(40)
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                code = ended.result()
        outcome = Outcome(code, Path(output.name).read_text(encoding="utf-8", errors="replace"))
    assert not hangs, f"no end after {timeout_s} s: {arguments}\n{outcome.tail}"
    return outcome


def _start(arguments: list[str], folder: Path, environment: dict[str, str], output: str) -> tuple[int, Future[int]]:
    """Start Python; returns its process id, and the exit code to come."""
    with Path(output).open("ab") as file:
        process = _popen(arguments, folder, environment, file)
    return process.pid, _waiting.submit(process.wait)


def _popen(
    arguments: list[str], folder: Path, environment: dict[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _fork(arguments: list[str], folder: Path, environment: dict[str, str], output: str) -> tuple[int, Future[int]]:
    """The same as a fork of the warm process."""
    request = {"arguments": arguments, "folder": str(folder), "environment": environment, "output": output}
    warm = _warm()
    print(json.dumps(request), file=warm.stdin, flush=True)
    return int(warm.stdout.readline()), _waiting.submit(lambda: int(warm.stdout.readline()))


_waiting = ThreadPoolExecutor()


@functools.cache
def _warm() -> subprocess.Popen[str]:
    """The warm process, started once; it ends with this one."""
    command = [sys.executable, str(Path(__file__).with_name("warm_starts.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=_environment({}), start_new_session=True, **pipes)


def torchrun(world_size: int, arguments: list[str], folder: Path, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Run a script, or `-m module`, on several processes of this machine."""
    return run_python([*_launcher(world_size), *arguments], folder, timeout_s)


def run_phase(phase: str, run_dir: Path, overrides: list[str], world_size: int = 2) -> Outcome:
    """Run edit or score under torchrun, or report, on the run folder; it has to succeed."""
    settings = [f"run_dir={run_dir}", *overrides]
    if phase == "report":
        outcome = run_python(["-m", "editbench.report", *settings], run_dir.parent)
    else:
        outcome = torchrun(world_size, ["-m", f"editbench.{phase}", *settings], run_dir.parent)
    assert outcome.code == 0, outcome.tail
    return outcome


class Job:
    """A phase under torchrun that goes on while the test does something to it. Use as a context manager.

    Leaving it kills what is left of it, found by the run folder on the command lines.

    Args:
        phase: `edit` or `score`.
        run_dir: The run folder.
        overrides: Further overrides.
        world_size: Number of processes.
        options: Further options of torchrun.
    """

    def __init__(
        self, phase: str, run_dir: Path, overrides: list[str], world_size: int = 2, options: tuple[str, ...] = ()
    ) -> None:
        self._module, self._run_dir = f"editbench.{phase}", run_dir
        self._log = (run_dir.parent / f"job-{time.monotonic_ns()}.txt").open("w+b")
        arguments = [*_launcher(world_size), *options, "-m", self._module, f"run_dir={run_dir}", *overrides]
        self._process = _popen(arguments, run_dir.parent, _environment({}), self._log)
        self.torchrun = psutil.Process(self._process.pid)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*self.family())
        self._process.wait(timeout=30)
        self._log.close()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def output(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def workers(self) -> list[psutil.Process]:
        """The processes of this run that are workers, orphans of a killed torchrun too."""
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
            except psutil.Error:
                continue
            if f"run_dir={self._run_dir}" in line and self._module in line and "torch.distributed.run" not in line:
                found.append(process)
        return found

    def family(self) -> list[psutil.Process]:
        """Torchrun, stopped so that it starts no more workers, then all its workers, also one it has just forked."""
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            self.torchrun.suspend()
            children = self.torchrun.children(recursive=True)
        return list(dict.fromkeys([self.torchrun, *children, *self.workers()]))

    def kill(self, *processes: psutil.Process) -> None:
        """SIGKILL; psutil makes sure that a number which the system has given away again is not meant."""
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def wait_until(self, condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> bool:
        """Wait until something is so; returns False if the job ended before."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.ended:
                return bool(condition())
            assert time.monotonic() < deadline, f"not so after {timeout_s} s; {self.output[-SHOWN_CHARACTERS:]}"
            time.sleep(0.01)
        return True

    def wait(self, timeout_s: float = TIMEOUT_S) -> Outcome:
        """Wait until torchrun has ended."""
        try:
            code = self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end after {timeout_s} s; {self.output[-SHOWN_CHARACTERS:]}") from None
        return Outcome(code, self.output)


def _launcher(world_size: int) -> list[str]:
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world_size}"]


def _environment(more: dict[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    ours = {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}
    return kept | ours | more
