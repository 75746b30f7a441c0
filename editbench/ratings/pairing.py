"""Puts a judge's scores and people's ratings of the same edits beside each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from editbench.analysis.agreement import RatedItems
from editbench.errors import UserError
from editbench.ratings.tables import KEYS, Table, score_columns

OVERALL = "overall"
_IMAGES = ("image_sha256", "base_sha256")

Key = tuple[str, str]
"""(model, sample id); no model where only one of the files, or none, names it."""


@dataclass(frozen=True)
class Paired:
    """Judge and raters, edit by edit.

    Attributes:
        scores: What is compared, by the name of the score.
        raters: Their names.
        clustered_by: `source`, `sample_id`, or both where some edits have no source.
        of_another_image: Ratings left out, as they are of another image than the judge's score.
    """

    scores: dict[str, RatedItems]
    raters: list[str]
    clustered_by: str
    of_another_image: int


def pair_up(judge: Table, human: Table, overall: Sequence[str]) -> Paired:
    """Match the rows of both tables by model and sample id.

    Args:
        judge: With one row for an edit.
        human: With one row for an edit and rater.
        overall: Scores whose geometric mean is compared too, for judge and rater alike (VIEScore, arXiv 2312.14867);
            may be empty.

    Raises:
        UserError: nothing can be compared, or an edit has two scores of one judge or rater.
    """
    with_model = "model" in judge.columns and "model" in human.columns
    of_judge, of_human = (_edits(table, with_model) for table in (judge, human))
    kept = _of_same_images(judge, of_judge, human, of_human)
    edits = list(dict.fromkeys([*of_judge, *(of_human[row] for row in kept)]))
    row_of = {edit: at for at, edit in enumerate(edits)}
    rater_of = human.keys("rater")
    raters = sorted({rater_of[row] for row in kept})
    column_of = {rater: at for at, rater in enumerate(raters)}
    _refuse_doubles(judge, of_judge, range(len(of_judge)), [""] * len(of_judge))
    _refuse_doubles(human, of_human, kept, rater_of)
    cluster, clustered_by = _clusters(edits, [(judge, of_judge), (human, of_human)])
    places = [(row_of[of_human[row]], column_of[rater_of[row]], row) for row in kept]
    scores = {}
    for name, (judged, rated) in _values(judge, human, overall).items():
        by_judge = np.full(len(edits), np.nan)
        by_raters = np.full((len(edits), len(raters)), np.nan)
        by_judge[[row_of[edit] for edit in of_judge]] = [_or_nan(value) for value in judged]
        for edit, rater, row in places:
            by_raters[edit, rater] = _or_nan(rated[row])
        scores[name] = RatedItems(by_judge, by_raters, [model for model, _ in edits], cluster)
    _refuse_strangers(scores, judge, human)
    return Paired(scores, raters, clustered_by, len(of_human) - len(kept))


def _edits(table: Table, with_model: bool) -> list[Key]:
    models = table.keys("model") if with_model else [""] * len(table.lines)
    return list(zip(models, table.keys("sample_id"), strict=True))


def _of_same_images(judge: Table, of_judge: list[Key], human: Table, of_human: list[Key]) -> list[int]:
    """Rows of ratings but those of an image that is known to be another one than the judge's."""
    kept = list(range(len(of_human)))
    for column in _IMAGES:
        judged = {edit: digest for edit, digest in zip(of_judge, judge.keys(column), strict=True) if digest}
        rated = human.keys(column)
        kept = [row for row in kept if rated[row] in ("", judged.get(of_human[row], rated[row]))]
    return kept


def _refuse_doubles(table: Table, edits: list[Key], rows: Sequence[int], raters: Sequence[str]) -> None:
    seen: dict[tuple[Key, str], int] = {}
    for row in rows:
        line = table.lines[row]
        before = seen.setdefault((edits[row], raters[row]), line)
        if before != line:
            who = f" by rater {raters[row]!r}" if raters[row] else ""
            raise UserError(
                f"{table.name}, line {line}: {edits[row][1]!r} has a score{who} in line {before} already; remove one, "
                "or where they are of several models give both files a column model"
            )


def _clusters(edits: list[Key], tables: list[tuple[Table, list[Key]]]) -> tuple[np.ndarray, str]:
    """Number the clusters: edits of one source image, or of one sample where the source is not told."""
    source: dict[Key, str] = {}
    for table, keys in tables:
        for edit, name in zip(keys, table.keys("source"), strict=True):
            if name:
                source.setdefault(edit, name)
    names = [("source", source[edit]) if edit in source else ("sample_id", edit[1]) for edit in edits]
    number = {name: at for at, name in enumerate(dict.fromkeys(names))}
    kinds = " or ".join(sorted({kind for kind, _ in names}, reverse=True))
    return np.array([number[name] for name in names], dtype=np.int64), kinds


def _values(
    judge: Table, human: Table, overall: Sequence[str]
) -> dict[str, tuple[list[float | None], list[float | None]]]:
    """Scores that both tables have, per row of each."""
    of_judge, of_human = score_columns(judge), score_columns(human)
    shared = [
        name
        for name in of_judge
        if name in of_human and judge.has_numbers(of_judge[name]) and human.has_numbers(of_human[name])
    ]
    unknown = [name for name in overall if name not in shared]
    if not shared or unknown:
        what = f"overall: no score {unknown[0]!r} is in both" if unknown else "no score is in both"
        columns = [", ".join(name for name in table.columns if name not in KEYS) for table in (judge, human)]
        raise UserError(
            f"{what}, {judge.name} ({columns[0]}) and {human.name} ({columns[1]}); give both columns one name"
        )
    values = {name: (judge.numbers(of_judge[name]), human.numbers(of_human[name])) for name in shared}
    if overall:
        sides = [[values[name][side] for name in overall] for side in (0, 1)]
        values[OVERALL] = (_geometric_mean(sides[0], judge.name), _geometric_mean(sides[1], human.name))
    return values


def _geometric_mean(columns: list[list[float | None]], table: str) -> list[float | None]:
    means: list[float | None] = []
    for row in zip(*columns, strict=True):
        known = [value for value in row if value is not None]
        if any(value < 0 for value in known):
            raise UserError(f"{table}: overall is a geometric mean, and a score is {min(known):g}; leave overall out")
        means.append(math.prod(known) ** (1 / len(row)) if len(known) == len(row) else None)
    return means


def _refuse_strangers(scores: dict[str, RatedItems], judge: Table, human: Table) -> None:
    for items in scores.values():
        if (np.isfinite(items.judge) & np.isfinite(items.raters).any(axis=1)).any():
            return
    first = [repr(next(iter(table.keys("sample_id")), "nothing")) for table in (judge, human)]
    raise UserError(
        f"no edit has both a score in {judge.name} (which begins with {first[0]}) and a rating in {human.name} "
        f"({first[1]}); their sample ids, models and images must be the same"
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
