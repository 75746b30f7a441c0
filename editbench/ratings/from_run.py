"""What a run has to be rated or compared: its edited images, and its judge's scores as a table."""

from dataclasses import dataclass
from typing import Any

from editbench.analysis.outcomes import outcome
from editbench.errors import UserError
from editbench.ratings.tables import Cell, Table
from editbench.run.folder import RunDir
from editbench.run.records import Edit, Sample

SOURCE_DIGITS = 16
"""Hex digits of a source image's digest that name it in tables."""


@dataclass(frozen=True)
class Edited:
    """A planned sample with its edited image."""

    sample: Sample
    edit: Edit

    @property
    def source(self) -> str:
        """What names the source image: samples of the same one belong together."""
        return self.sample.source_sha256[:SOURCE_DIGITS]


def edited_samples(run_dir: RunDir) -> list[Edited]:
    """Read the samples that have an edited image, in the plan's order.

    Raises:
        UserError: there is no run, or nothing edited in it.
    """
    plan = run_dir.read_plan()
    if plan is None:
        raise UserError(f"{run_dir.root}: there is no run here (no plan.json); give the folder of a run")
    edits = run_dir.read_edits()
    found = [
        Edited(sample, edits[sample.sample_id])
        for sample in plan.samples
        if outcome(sample, edits.get(sample.sample_id), None)["state"] == "edited"
    ]
    if not found:
        raise UserError(f"{run_dir.root} has no edited images; run the edit phase")
    return found


def judge_table(run_dir: RunDir, judge: str | None) -> Table:
    """The scores that a judge gave the images of a run.

    Args:
        run_dir: The run.
        judge: Its name; None: the only one there is.

    Returns:
        Columns sample_id, source, image_sha256 and `score`.
    """
    judge = judge or _only_judge(run_dir)
    judgments = run_dir.read_judgments(judge)
    if not judgments:
        raise UserError(f"{run_dir.root} has no judgments by {judge!r}; run the score phase, or name another judge")
    edited = edited_samples(run_dir)
    outcomes = [outcome(e.sample, e.edit, judgments.get(e.sample.sample_id)) for e in edited]
    return _table(f"{run_dir.root}, judged by {judge}", edited, {"score": [o["score"] for o in outcomes]})


def preference_table(base: Table, other: Table) -> Table:
    """The judge's preference between two runs: the other's score minus the base's, on the samples that both have.

    Returns:
        Columns sample_id, source, image_sha256 (the other's), base_sha256 and `preference`.
    """
    rows = {sample_id: row for row, sample_id in enumerate(base.keys("sample_id"))}
    shared = [(row, rows[sample_id]) for row, sample_id in enumerate(other.keys("sample_id")) if sample_id in rows]
    scores, base_scores = other.numbers("score"), base.numbers("score")
    preference: list[Cell] = []
    for row, base_row in shared:
        score, base_score = scores[row], base_scores[base_row]
        preference.append(None if score is None or base_score is None else score - base_score)
    columns: dict[str, list[Cell]] = {
        name: [other.columns[name][row] for row, _ in shared] for name in ("sample_id", "source", "image_sha256")
    }
    columns["base_sha256"] = [base.columns["image_sha256"][base_row] for _, base_row in shared]
    return Table(f"{other.name}, against {base.name}", list(range(len(shared))), {**columns, "preference": preference})


def _only_judge(run_dir: RunDir) -> str:
    judges = sorted(path.stem for path in run_dir.judgments.glob("*.jsonl"))
    if len(judges) != 1:
        found = f"judgments by {', '.join(judges)}; choose with judge_name=…" if judges else "no judgments"
        raise UserError(f"{run_dir.root} has {found}")
    return judges[0]


def _table(name: str, edited: list[Edited], scores: dict[str, list[Any]]) -> Table:
    keys: dict[str, list[Cell]] = {
        "sample_id": [e.sample.sample_id for e in edited],
        "source": [e.source for e in edited],
        "image_sha256": [e.edit.sha256 for e in edited],
    }
    return Table(name, list(range(len(edited))), {**keys, **scores})
