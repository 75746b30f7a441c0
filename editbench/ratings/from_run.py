"""What a run has to be rated or compared: its edited images, and its judge's scores as a table."""

from dataclasses import dataclass

from editbench.analysis.outcomes import WITH_IMAGE, outcome
from editbench.errors import UserError
from editbench.ratings.tables import Cell, Table
from editbench.results import Results
from editbench.run.folder import RunDir
from editbench.run.records import Edit, Sample


@dataclass(frozen=True)
class Edited:
    """A planned sample with its edited image; in a chain also the edit whose image was its source."""

    sample: Sample
    edit: Edit
    before: Edit | None = None

    @property
    def source(self) -> str:
        """What names the source image, as in a report's samples: those of the same one belong together."""
        return self.sample.source_sha256[:16]


def edited_samples(run_dir: RunDir) -> list[Edited]:
    """Read the samples that have an edited image, in the plan's order.

    Raises:
        UserError: there are none.
    """
    plan, edits = run_dir.read_plan(), run_dir.read_edits()
    found = [
        Edited(sample, edits[sample.sample_id], edits.get(sample.follows) if sample.follows else None)
        for sample in (plan.samples if plan else [])
        if outcome(sample, edits.get(sample.sample_id), None)["state"] == "edited"
    ]
    if not found:
        raise UserError(f"{run_dir.root} has no edited images; run the edit phase")
    return found


def judge_table(results: Results) -> Table:
    """The scores that a judge gave the images of a run.

    Returns:
        Columns sample_id, source, image_sha256 and `score`.
    """
    outcomes = [o for o in results.outcomes if o["state"] in WITH_IMAGE]
    columns = {name: [o[name] for o in outcomes] for name in ("sample_id", "source", "image_sha256", "score")}
    return Table(f"{results.folder.root}, judged by {results.judge}", list(range(len(outcomes))), columns)


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
