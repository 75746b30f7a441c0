"""The tables of the page that compares runs."""

from typing import Any

from editbench.views.comparison import neighbour
from editbench.views.official import scale_of
from editbench.views.sections import OVERALL, link
from editbench.views.tables import Cell, Column, Table, at, exact, number, rounded, span, whole, words

_SHARED = {
    "shared": "Shared",
    "both_scored": "Both scored",
    "only_in_base": "Only in base",
    "only_in_other": "Only in other",
    "without_score_in_base": "No score in base",
    "without_score_in_other": "No score in other",
}

_NUMBERS = (
    Column("Samples"),
    Column("Sources", ("source images",)),
    Column("Base", ("base mean",)),
    Column("Other", ("other mean",)),
    Column("Difference"),
    Column("95% interval", ("interval low", "interval high")),
    Column("SE", ("standard error",)),
    Column("p"),
    Column("p, Holm", ("p holm",)),
    Column("Wins"),
    Column("Ties"),
    Column("Losses"),
    Column("Could have seen", ("smallest detectable at 80% power",)),
)


def comparison_tables(comparison: dict[str, Any]) -> dict[str, Table]:
    """All tables that have something to show, by their key."""
    pairs = comparison.get("pairs") or []
    tables = [runs(comparison), ranking(comparison), overview(pairs), shared(pairs)]
    tables += [categories(place, pair) for place, pair in enumerate(pairs)]
    return {table.key: table for table in tables if table.rows}


def runs(comparison: dict[str, Any]) -> Table:
    """The runs, the base first."""
    columns = [Column(name, text=True) for name in ("Run", "Editor", "Judge", "Folder", "Editing differs in")]
    columns[3:3] = [Column("Mean"), Column("Scored"), Column("Planned")]
    rows = [
        [
            words(run.get("name")),
            words(at(run, "editor", "name")),
            words(at(run, "judge", "name")),
            number(run.get("mean")),
            whole(run.get("scored")),
            whole(run.get("planned")),
            words(run.get("path")),
            words("; ".join(run.get("changed") or []) or None),
        ]
        for run in comparison.get("runs") or []
    ]
    return Table("runs", "Runs, base first", columns, rows)


def ranking(comparison: dict[str, Any]) -> Table:
    """The runs by their mean, and which neighbours cannot be told apart."""
    rows = [
        [
            Cell("–") if run["mean"] is None else whole(place),
            words(run.get("name")),
            number(run.get("mean")),
            whole(run.get("n")),
            Cell(neighbour(run)),
        ]
        for place, run in enumerate(comparison.get("ranking") or [], 1)
    ]
    columns = (
        Column("Rank"),
        Column("Run", text=True),
        Column("Mean"),
        Column("Samples"),
        Column("Neighbours", text=True),
    )
    return Table("ranking", "Ranking", columns, rows)


def overview(pairs: list[dict[str, Any]]) -> Table:
    """Each pair over all samples; with a single pair its table of categories says the same."""
    columns = (Column("Base", text=True), Column("Other", text=True), *_NUMBERS)
    rows = [[words(pair["base"]), words(pair["other"]), *_numbers(pair["overall"])] for pair in pairs]
    return Table("pairs", "Pairs, over all shared samples", columns, rows if len(rows) > 1 else [])


def categories(place: int, pair: dict[str, Any]) -> Table:
    """One pair by category and, last, over all samples."""
    found = pair.get("categories") or {}
    rows = [[Cell(words(name).text, link=link(category=name)), *_numbers(section)] for name, section in found.items()]
    rows.append([words(OVERALL), *_numbers(pair["overall"])])
    if pair.get("failures_as_min"):
        rows.append([words(f"All samples, failures as {scale_of(pair)[0]:g}"), *_numbers(pair["failures_as_min"])])
    caption = f"{words(pair['other']).text} minus {words(pair['base']).text}"
    columns = (Column("Category", text=True), *_NUMBERS)
    return Table(f"pair-{place}", caption, columns, rows, totals=len(rows) - len(found))


def _numbers(section: dict[str, Any]) -> list[Cell]:
    chance, method = section.get("p"), section.get("method")
    return [
        whole(section.get("n")),
        whole(section.get("clusters")),
        number(section.get("base_mean")),
        number(section.get("other_mean")),
        number(section.get("difference"), sign=True),
        span(section.get("interval"), sign=True),
        number(section.get("standard_error")),
        Cell(p_value(chance) + (" (exact)" if method == "exact" else ""), (exact(chance),)),
        Cell(p_value(section.get("p_holm")), (exact(section.get("p_holm")),)),
        *(whole(section.get(key)) for key in ("wins", "ties", "losses")),
        number(section.get("smallest_detectable")),
    ]


def p_value(value: float | None) -> str:
    """A p for people."""
    return "< 0.001" if value is not None and value < 0.001 else rounded(value, 3)


def shared(pairs: list[dict[str, Any]]) -> Table:
    """How many samples each pair shares, and how many only one has."""
    columns = [Column("Base", text=True), Column("Other", text=True), *map(Column, _SHARED.values())]
    rows = []
    for pair in pairs:
        numbers = [whole(at(pair, "counts", key)) for key in _SHARED]
        rows.append([words(pair["base"]), words(pair["other"]), *numbers])
    return Table("shared", "Samples that the runs share", columns, rows)
