"""Weights & Biases, and Trackio, which has the same calls: `pip install "editbench[wandb]"` or `[trackio]`.

Their own recording is off: nothing of the command line, the code, the git repository, the console or the machine goes
out, only what `log` and `finish` are given.
"""

import re
from pathlib import Path
from typing import Any, Literal

from editbench.trackers.base import FAILURE_COLUMNS, package

_NOTHING_ELSE = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,  # the command line, which can hold a secret
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Settings of wandb 0.31."""


class WandbTracker:
    """Sends reports to Weights & Biases.

    Args:
        project: Its project.
        entity: User or team; None: the default of who is logged in.
        mode: None: as the environment variable WANDB_MODE says, else online.
        folder: Where it keeps its files; made if needed.
    """

    def __init__(
        self,
        project: str,
        folder: str,
        entity: str | None = None,
        mode: Literal["online", "offline"] | None = None,
    ) -> None:
        self._arguments = {"project": project, "entity": entity, "mode": mode}
        self._folder = Path(folder)

    def start(self, run_name: str, config: dict[str, Any]) -> None:
        """Begin a run, logged in as `wandb login` or WANDB_API_KEY says."""
        wandb = package("wandb", "wandb")
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(**_NOTHING_ELSE)
        self._run_name, self._wandb = run_name, wandb
        self._run = wandb.init(
            **self._arguments, name=run_name, config=config, dir=str(self._folder), settings=settings
        )

    def log(self, scalars: dict[str, float], failures: list[list[str]]) -> None:
        """Log the figures, and failures as a table."""
        table = self._wandb.Table(columns=list(FAILURE_COLUMNS), data=failures)
        self._run.log({**scalars, "failures": table})

    def finish(self, files: list[Path]) -> None:
        """Log the files as one artifact of type report, and end the run."""
        if files:
            self._run.log_artifact(_artifact(self._wandb, self._run_name, files))
        self._run.finish()
        self._wandb.teardown()  # waits until its own process has written everything


class TrackioTracker:
    """Sends reports to Trackio: to files of this machine, or to a Space.

    Args:
        project: Its project.
        space_id: A Hugging Face Space; None: this machine, in TRACKIO_DIR if that is set.
    """

    def __init__(self, project: str, space_id: str | None = None) -> None:
        self._project, self._space_id = project, space_id

    def start(self, run_name: str, config: dict[str, Any]) -> None:
        """Begin a run."""
        trackio = package("trackio", "trackio")
        self._run_name, self._trackio = run_name, trackio
        trackio.init(
            project=self._project,
            name=run_name,
            space_id=self._space_id,
            config=config,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, scalars: dict[str, float], failures: list[list[str]]) -> None:
        """Log the figures, and failures as a table."""
        table = self._trackio.Table(columns=list(FAILURE_COLUMNS), data=failures)
        self._trackio.log({**scalars, **({"failures": table} if failures else {})})

    def finish(self, files: list[Path]) -> None:
        """Log the files as one artifact of type report, and end the run."""
        if files:
            self._trackio.log_artifact(_artifact(self._trackio, self._run_name, files))
        self._trackio.finish()


def _artifact(module: Any, run_name: str, files: list[Path]) -> Any:
    artifact = module.Artifact(f"report-{re.sub(r'[^A-Za-z0-9_.-]', '_', run_name)}"[:120], type="report")
    for file in files:
        artifact.add_file(str(file))
    return artifact
