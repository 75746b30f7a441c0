"""What is on record of a finished or running run, for the commands that look at runs."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editbench.analysis.outcomes import outcome
from editbench.config.load import read_protocol
from editbench.config.protocol import ProtocolConfig
from editbench.config.schema import Config
from editbench.errors import UserError
from editbench.run.folder import Plan, RunDir
from editbench.run.records import Edit, Judgment, Sample


@dataclass(frozen=True)
class Results:
    """A run as one of its judges sees it.

    Attributes:
        folder: Where it lies.
        judge: The judge's name.
        plan: Its samples.
        edits, judgments: The latest of each sample, by sample id; also of samples that are no longer planned.
        outcomes: What became of each planned sample, in plan order, as `analysis.outcomes.outcome` gives it.
    """

    folder: RunDir
    judge: str
    plan: Plan
    edits: dict[str, Edit]
    judgments: dict[str, Judgment]
    outcomes: list[dict[str, Any]]

    @functools.cached_property
    def samples(self) -> dict[str, Sample]:
        """The plan's samples by id."""
        return {sample.sample_id: sample for sample in self.plan.samples}

    @functools.cached_property
    def protocol(self) -> ProtocolConfig:
        """By which protocol this judge judged last; `protocol.scale` is what its scores are on."""
        return read_protocol(self.folder.read_config(self.judge))

    @functools.cached_property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest score."""
        low, high = self.protocol.scale
        return low, high

    def model(self, phase: str) -> dict[str, Any] | None:
        """What is on record of the editor (phase `edit`), or of this judge (`score`); None if nothing is."""
        found = [
            session["component"]
            for session in self.folder.read_sessions()
            if session["phase"] == phase and (phase == "edit" or session["component"]["name"] == self.judge)
        ]
        return dict(found[-1]) if found else None


def read_results(folder: RunDir, judge: str) -> Results:
    """Read the plan, and the latest edit and judgment of each sample.

    Raises:
        UserError: there is no such run, one of its files is damaged, or only other judges have judged it.
    """
    plan = folder.read_plan()
    if plan is None:
        raise UserError(f"{folder.root}: there is no run here (no plan.json); give its run_name or run_dir")
    others = judges_of(folder)
    if others and judge not in others:
        raise UserError(
            f"{folder.root} has no judgments by {judge!r}, only by {', '.join(others)}; choose with judge=…"
        )
    edits, judgments = folder.read_edits(), folder.read_judgments(judge)
    outcomes = [outcome(s, edits.get(s.sample_id), judgments.get(s.sample_id)) for s in plan.samples]
    return Results(folder, judge, plan, edits, judgments, outcomes)


def find_run(run: str) -> RunDir:
    """Find a run by its folder, or by its name under `runs/`.

    Raises:
        UserError: there is none.
    """
    places = [Path(run).expanduser(), Path("runs") / run]
    for place in places:
        if (place / "plan.json").exists():
            return RunDir(place)
    raise UserError(f"there is no run {run!r} (no plan.json in {places[0]} or {places[1]}); give its folder or name")


def only_judge(folder: RunDir) -> str:
    """Name the judge of a run that one judge has judged.

    Raises:
        UserError: none has, or several have.
    """
    judges = judges_of(folder)
    if not judges:
        raise UserError(f"{folder.root} has no judgments; run the score phase")
    if len(judges) > 1:
        raise UserError(f"{folder.root} has judgments by {', '.join(judges)}; choose with judge=…")
    return judges[0]


def judge_of(config: Config, folder: RunDir) -> tuple[str, str]:
    """Name the judge whose judgments count: the one that is asked for, else the one that judged last.

    Returns:
        Its name, and a sentence if the run has others too and none was asked for.

    Raises:
        UserError: several have judged, and it is not on record who was the last.
    """
    judges = judges_of(folder)
    if not judges or "judge" in config.chosen:
        return config.judge.name, ""
    settings = folder.read_config().get("judge")
    last = settings.get("name") if isinstance(settings, dict) else None
    name = last if last in judges else only_judge(folder)
    others = [other for other in judges if other != name]
    if not others:
        return name, ""
    return name, f"judged by {name}, which judged last; judge=… gives the report of {' or '.join(others)}"


def judges_of(folder: RunDir) -> list[str]:
    """Names of the judges that have judged a run."""
    return sorted(path.stem for path in folder.judgments.glob("*.jsonl"))
