"""Editor and judge of known duration, in place of models: they wait without holding the CPU, as for a GPU.

Each writes down when it was constructed and when it worked, so that the same figures can be read of every design.
"""

import json
import math
import random
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.pictures import make_picture
from editbench.judges.base import Request


class Log:
    """A file of its own for every stand-in: one JSON line per event. Times are those of the wall clock."""

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._file = (Path(folder) / f"{uuid.uuid4().hex}.jsonl").open("w", buffering=1)

    def write(self, event: str, began: float, **facts: Any) -> None:
        """Note an event that began at `began` and ends now."""
        self._file.write(json.dumps({"event": event, "began": began, "ended": time.time(), **facts}) + "\n")


class TimedEditor:
    """Makes a picture in a known time.

    Args:
        device: Not used.
        log: Folder for the log.
        size: Width and height of the picture, in pixels.
        duration_s: Mean seconds of an edit, all that it does included.
        sigma: Of the lognormal distribution of durations, drawn from the sample's seed; 0: all are equal.
        load_s: Seconds its construction takes.
    """

    def __init__(
        self, device: str, log: str, size: int = 512, duration_s: float = 0.0, sigma: float = 0.0, load_s: float = 0.0
    ) -> None:
        began = time.time()
        self._log, self._duration_s, self._sigma = Log(log), duration_s, sigma
        self._pixels = np.asarray(make_picture(0, size))  # (H, W, 3) uint8
        time.sleep(load_s)
        self._log.write("load_editor", began)

    def edit(
        self, source: Image.Image, instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Return a noisy picture, moved sideways by the seed, when the time is up."""
        began, started = time.time(), time.monotonic()
        wanted_s = duration(self._duration_s, self._sigma, seed)
        picture = Image.fromarray(np.roll(self._pixels, seed % len(self._pixels), axis=1))
        time.sleep(max(0.0, started + wanted_s - time.monotonic()))
        self._log.write("edit", began, wanted_s=wanted_s)
        return picture

    def describe(self) -> dict[str, Any]:
        """Say what it is."""
        return {"note": "stand-in of known duration"}


class TimedJudge:
    """Replies at once.

    Args:
        devices: Not used.
        log: Folder for the log.
        load_s: Seconds its construction takes.
    """

    def __init__(self, devices: list[str], log: str, load_s: float = 0.0) -> None:
        began = time.time()
        self._log = Log(log)
        time.sleep(load_s)
        self._log.write("load_judge", began)

    def prepare(self, requests: Sequence[Request]) -> int:
        """Count the requests."""
        return len(requests)

    def reply(self, prepared: int) -> list[str]:
        """Reply with the same score to all."""
        self._log.write("judge", time.time())
        return ["Score: 7.5"] * prepared

    def describe(self) -> dict[str, Any]:
        """Say what it is."""
        return {"note": "stand-in of known duration"}


def duration(mean_s: float, sigma: float, seed: int) -> float:
    """Draw a lognormal duration with this mean from a seed."""
    return mean_s * math.exp(sigma * random.Random(seed).gauss(0, 1) - sigma**2 / 2)
