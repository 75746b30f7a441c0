"""Brings the next phase's weights into the host's page cache, while this phase's last samples are at work.

It only reads, at the lowest priority, and only where there is room; nothing waits for it, and nothing depends on it.
"""

import contextlib
import logging
import os
import threading
import time

from editbench.checkpoints import Checkpoint
from editbench.devices import available_host_memory
from editbench.errors import UserError
from editbench.plan import find_checkpoint
from editbench.settings import ComponentConfig

ROOM_FACTOR = 2
"""So many times the checkpoint's size must be available before it is read: the phase at work comes first."""

_CHUNK_BYTES = 8 * 2**20

logger = logging.getLogger(__name__)


def warm(component: ComponentConfig) -> threading.Thread:
    """Start to read the checkpoint that a component's arguments name, in a thread that ends with the process."""
    thread = threading.Thread(target=_warm, args=(component,), name="page-cache", daemon=True)
    thread.start()
    return thread


def _warm(component: ComponentConfig) -> None:
    with contextlib.suppress(OSError):  # of this thread alone, as Linux has it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    try:
        checkpoint = find_checkpoint(component, download=False)
        if checkpoint is None or available_host_memory() < ROOM_FACTOR * checkpoint.size_bytes:
            return
        began = time.monotonic()
        size = _read(checkpoint)
        logger.debug("read %.2f GiB of %s ahead in %.1f s", size / 2**30, checkpoint.path, time.monotonic() - began)
    except (UserError, OSError) as error:  # the phase that needs it will say so
        logger.debug("%s was not read ahead: %s", component.name, error)


def _read(checkpoint: Checkpoint) -> int:
    """Read the weights once; returns their size in bytes."""
    buffer = bytearray(_CHUNK_BYTES)
    size = 0
    for file in sorted(checkpoint.path.rglob("*.safetensors")):
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                size += count
    return size
