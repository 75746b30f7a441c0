"""Tells how well a judge agrees with people, beside how well people agree with each other.

    python -m editbench.agree run=runs/mine human=runs/mine/ratings.csv
    python -m editbench.agree judge=judge.csv human=human.csv overall=[sc,pq]

Correlations, pairwise accuracy and Krippendorff's alpha, each with a bootstrap interval; docs/agreement.md tells the
formats and formulas. Writes agree.json and agree.md beside the run, or into the current folder; changes nothing else.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from editbench import __version__, cli, logs
from editbench.analysis.agreement import measure_agreement
from editbench.analysis.association import MEASURES
from editbench.config.annotations import Count, CountOrZero
from editbench.errors import UserError
from editbench.ratings.from_run import judge_table, preference_table
from editbench.ratings.pairing import pair_up
from editbench.ratings.tables import Table, read_table
from editbench.results import Results, find_run, only_judge, read_results
from editbench.run.folder import utc_now
from editbench.run.lines import write_atomic
from editbench.views.agreement import agreement_markdown, show_agreement

PREFERENCE = "preference"
FEW_CLUSTERS = 20


@dataclass(frozen=True)
class AgreeOptions:
    """What `agree` compares.

    Attributes:
        human: CSV of people's ratings.
        judge: CSV of the judge's scores; with `run` the judge's name, where the run has several.
        run: A run, by folder or name, whose judge's scores are taken.
        base: Another run: then preferences between the two are compared.
        overall: Scores whose geometric mean is compared too.
        out: Folder for agree.json and agree.md; by default the run's, or the current one.
        resamples: For the intervals.
        seed: Of the resampling.
    """

    human: Path
    judge: str | None = None
    run: str | None = None
    base: str | None = None
    overall: list[str] = field(default_factory=list)
    out: Path | None = None
    resamples: Count = 10_000
    seed: CountOrZero = 0


def main(options: AgreeOptions) -> None:
    """Compare, write both files and print the tables."""
    agreement = build_agreement(options)
    folder = options.out or (find_run(options.run).root if options.run else Path())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "agree.json", json.dumps(agreement, indent=1, ensure_ascii=False) + "\n")
        write_atomic(folder / "agree.md", agreement_markdown(agreement))
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error.strerror}); give another folder as out=…") from error
    show_agreement(logs.console(), agreement, folder / "agree.md")


def build_agreement(options: AgreeOptions) -> dict[str, Any]:
    """Read what is compared, and measure how far it agrees.

    Raises:
        UserError: a file is damaged, or nothing can be compared.
    """
    judge = _judge_table(options)
    human = read_table(options.human, ["sample_id", "rater"])
    paired = pair_up(judge, human, options.overall)
    scores = {
        name: measure_agreement(
            items,
            [m for m in MEASURES if m != "same_sign" or name == PREFERENCE],
            options.resamples,
            options.seed,
        )
        for name, items in paired.scores.items()
    }
    return {
        "editbench": __version__,
        "created": utc_now(),
        "judge": judge.name,
        "human": human.name,
        "raters": paired.raters,
        "clustered_by": paired.clustered_by,
        "resamples": options.resamples,
        "seed": options.seed,
        "ratings_of_another_image": paired.of_another_image,
        "notes": _notes(scores, paired.of_another_image),
        "scores": scores,
        "options": {name: value if value is None else str(value) for name, value in asdict(options).items()},
    }


def _judge_table(options: AgreeOptions) -> Table:
    if options.run is not None:
        table = judge_table(_results(options.run, options.judge))
        return preference_table(judge_table(_results(options.base, options.judge)), table) if options.base else table
    if options.base is not None:
        raise UserError("base=… needs run=…: preferences are between two runs")
    if options.judge is None:
        raise UserError("give run=<run> or judge=<csv>")
    return read_table(Path(options.judge).expanduser(), ["sample_id"])


def _results(run: str, judge: str | None) -> Results:
    folder = find_run(run)
    return read_results(folder, judge or only_judge(folder))


def _notes(scores: dict[str, dict[str, Any]], of_another_image: int) -> list[str]:
    """What must be known before the numbers."""
    notes = []
    if of_another_image:
        notes.append(f"ratings of another image than the judge's score, left out: {of_another_image}")
    for name, found in scores.items():
        counts = found["counts"]
        for key, words in (
            ("rated_but_without_score", "rated, but without a score of the judge"),
            ("judged_but_not_rated", "with a score, but not rated"),
            ("neither", "with neither score nor rating"),
        ):
            if counts[key]:
                notes.append(f"{name}: edits {words}, in no figure: {counts[key]}")
        if counts["clusters"] < FEW_CLUSTERS:
            notes.append(f"{name}: intervals rest on few clusters ({counts['clusters']}) and may be too narrow")
    return notes


if __name__ == "__main__":
    cli.run_with_options(main, AgreeOptions, __doc__)
