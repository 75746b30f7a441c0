"""Starts the commands as a user does, each in a process of its own with a limit of time."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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


def run_python(arguments: list[str], folder: Path, timeout_s: float = TIMEOUT_S, **environment: str) -> Outcome:
    """Run Python with these arguments in a folder; a command that hangs is ended with all its children."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=kept
        | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun passes it on to its workers
        try:
            output, _ = process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        outcome = Outcome(process.returncode, output)
        raise AssertionError(f"no end after {timeout_s} s: {arguments}\n{outcome.tail}") from None
    return Outcome(process.returncode, output)


def torchrun(world_size: int, arguments: list[str], folder: Path, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Run a script, or `-m module`, on several processes of this machine."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world_size}"]
    return run_python([*start, *arguments], folder, timeout_s)


def run_phase(phase: str, run_dir: Path, overrides: list[str], world_size: int = 2) -> Outcome:
    """Run edit or score under torchrun, or report, on the run folder; it has to succeed."""
    settings = [f"run_dir={run_dir}", *overrides]
    if phase == "report":
        outcome = run_python(["-m", "editbench.report", *settings], run_dir.parent)
    else:
        outcome = torchrun(world_size, ["-m", f"editbench.{phase}", *settings], run_dir.parent)
    assert outcome.code == 0, outcome.tail
    return outcome
