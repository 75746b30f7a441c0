"""Who works in a run folder: one phase at a time, and it says who it is."""

import datetime
import fcntl
import logging
import os
import platform
import re
import time
from pathlib import Path
from typing import TextIO

import psutil

from editbench.errors import UserError

WAIT_S = 30.0
"""How long to wait for a process that ends by itself, as its launcher is gone; see `distributed/orphans.py`."""

_HOLDER = re.compile(r"process (\d+) on ([^,]+).*?(?:, started by process (\d+))?, since ")

logger = logging.getLogger(__name__)


def hold(folder: Path, who: str) -> TextIO:
    """Hold the folder until the file that is returned is closed: by the end of this process, however it ends.

    A process that lost its launcher (torchrun was killed) is ending, and waited for.

    Raises:
        UserError: another process holds it; says which, and since when.
    """
    file = (folder / ".lock").open("a+", encoding="utf-8")
    began = time.monotonic()
    told = ""
    while not _is_locked(file, folder):
        file.seek(0)
        holder = file.read().strip()
        if not _is_ending(holder) or time.monotonic() - began > WAIT_S:
            raise UserError(
                f"{folder} is in use by {holder or 'another process'}{told}; wait until it has ended, "
                "or give another run_name"
            )
        if not told:
            told = f", whose launcher is gone and which did not end within {WAIT_S:g} s"
            logger.warning("%s: waiting up to %g s for %s, whose launcher is gone, to end", folder, WAIT_S, holder)
        time.sleep(0.2)
    launcher = f", started by process {os.getppid()}" if "TORCHELASTIC_RUN_ID" in os.environ else ""
    job = f", Slurm job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    file.truncate(0)
    file.write(f"{who}, process {os.getpid()} on {platform.node()}{job}{launcher}, since {since}\n")
    file.flush()
    return file


def _is_locked(file: TextIO, folder: Path) -> bool:
    """Whether the lock was free and is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # file systems without locks
        logger.warning("%s cannot be locked (%s); do not start two phases on it at once", folder, error.strerror)
    return True


def _is_ending(holder: str) -> bool:
    """Whether the process that holds a folder is on this machine and has lost its launcher, or its life."""
    found = _HOLDER.search(holder)
    if not found or found[2] != platform.node():
        return False
    try:
        parent = psutil.Process(int(found[1])).ppid()
    except psutil.NoSuchProcess:
        return True
    return found[3] is not None and parent != int(found[3])
