"""TensorBoard's event files, written by tensorboardX: `pip install "editbench[tensorboard]"`."""

from pathlib import Path
from typing import Any

import yaml

from editbench.trackers.base import FAILURE_COLUMNS, package


class TensorBoardTracker:
    """Writes reports into a folder for `tensorboard --logdir`.

    Figures stand at the number of samples that have a score, so a report of a run that goes on is a further point.

    Args:
        folder: Where event files lie; made if needed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def start(self, run_name: str, config: dict[str, Any]) -> None:
        """Begin a file of events, with the settings as text."""
        self._writer, self._step = package("tensorboardX", "tensorboard").SummaryWriter(self._folder), 0
        text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
        self._writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def log(self, scalars: dict[str, float], failures: list[list[str]]) -> None:
        """Write the figures, and failures as a table in Markdown."""
        self._step = int(scalars.get("count/scored", 0))
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, self._step)
        rows = [FAILURE_COLUMNS, ["---"] * len(FAILURE_COLUMNS), *failures]
        table = "\n".join(f"| {' | '.join(_cell(text) for text in row)} |" for row in rows)
        self._writer.add_text("failures", table if failures else "none", self._step)

    def finish(self, files: list[Path]) -> None:
        """Write the report in Markdown as text, and close the file."""
        for file in files:
            if file.suffix == ".md":
                self._writer.add_text("report", file.read_text(encoding="utf-8"), self._step)
        self._writer.close()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
