"""The tables of a report's page. What a report lacks, as one of an earlier version does, is a dash."""

from typing import Any

from editbench.run.records import FAILURE_STATES, State
from editbench.views.metrics import calibration_rows, metric_rows
from editbench.views.official import official_rows, published_rows, scale_of
from editbench.views.pixel_tables import masks, pixels
from editbench.views.record_tables import controls, environment, models, phases
from editbench.views.scores import turn_rows
from editbench.views.sections import MACRO, link, sections
from editbench.views.tables import UNKNOWN, Cell, Column, Table, at, number, rate, rate_names, span, whole, words

MAX_FAILED_SHOWN = 50

_COUNTS: dict[str, State | None] = {
    "planned": None,
    "edited": None,
    "scored": "scored",
    "edit_failed": "edit_failed",
    "invalid_output": "invalid_output",
    "unparsed": "unparsed",
    "judge_failed": "judge_failed",
    "not_edited_yet": "pending",
    "not_judged_yet": "edited",
}
"""Counts of a section, and the state of the samples they count, where that is a single one."""


def report_tables(report: dict[str, Any]) -> dict[str, Table]:
    """All tables that have something to show, by their key."""
    tables = [
        *official(report),
        scores(report),
        turns(report),
        counts(report),
        causes(report),
        failed_samples(report),
        pixels(report),
        masks(report),
        *metrics(report),
        *controls(report),
        phases(report),
        models(report),
        environment(report),
    ]
    return {table.key: table for table in tables if table.rows}


def scores(report: dict[str, Any]) -> Table:
    """Means with their intervals beside what they rest on; the mean over samples, and the one over categories."""
    low, high = (f"{bound:g}" for bound in scale_of(report))
    columns = (
        Column("Category", text=True),
        Column("Mean"),
        Column("95% interval", ("interval low", "interval high")),
        Column("SE", ("standard error",)),
        Column("Scored"),
        Column("Planned"),
        Column("Sources", ("source images",)),
        Column(f"Failures as {low}", (f"mean with failures as {low}",)),
        Column(f"Failures as {low} to {high}", tuple(f"mean with failures as {bound}" for bound in (low, high))),
        Column("Median"),
        Column("SD", ("standard deviation",)),
        Column("Min"),
        Column("Max"),
    )
    rows = [_score_row(*section) for section in sections(report)]
    macro = at(report, "overall", "macro")
    if macro:
        estimate = [number(macro.get("mean")), span(macro.get("interval")), number(macro.get("standard_error"))]
        rows.append([words(MACRO), *estimate, *[Cell("", ("",) * max(1, len(c.names))) for c in columns[4:]]])
    return Table("scores", f"Scores from {low} to {high}", columns, rows, totals=2 if macro else 1)


def turns(report: dict[str, Any]) -> Table:
    """Statistics of each turn of the samples in chains."""
    header, rows = turn_rows(report)
    columns = [Column(name[0].upper() + name[1:]) for name in header]
    return Table("turns", "Scores by turn of a chain", columns, [[*map(words, row)] for row in rows])


def _score_row(name: str, section: dict[str, Any], chosen: dict[str, str]) -> list[Cell]:
    return [
        Cell(words(name).text, link=link(**chosen) if chosen else None),
        number(section.get("mean")),
        span(section.get("interval")),
        number(section.get("standard_error")),
        whole(at(section, "counts", "scored")),
        whole(at(section, "counts", "planned")),
        whole(section.get("clusters")),
        number(section.get("mean_with_failures_as_min")),
        span(section.get("mean_range")),
        *(number(section.get(key)) for key in ("median", "std", "min", "max")),
    ]


def counts(report: dict[str, Any]) -> Table:
    """What became of the samples: every state counted, and the rate of failures."""
    names = [Column(name.replace("_", " ").capitalize()) for name in _COUNTS]
    columns = (Column("Category", text=True), *names, Column("Failed (95% interval)", rate_names("failed")))
    rows = []
    for name, section, chosen in sections(report):
        cells = [
            whole(at(section, "counts", key), link(**chosen, state=state) if state else None)
            for key, state in _COUNTS.items()
        ]
        rows.append([words(name), *cells, rate(section.get("failed_rate"))])
    return Table("counts", "What became of the samples", columns, rows, totals=1)


def causes(report: dict[str, Any]) -> Table:
    """How often what was the cause of a failure."""
    rows = [
        [words(state.replace("_", " ")), words(cause), whole(count, link(state=state))]
        for state, found in (report.get("errors") or {}).items()
        for cause, count in found.items()
    ]
    columns = (Column("State", text=True), Column("Cause", text=True), Column("Samples"))
    return Table("causes", "Causes of failures", columns, rows)


def failed_samples(report: dict[str, Any]) -> Table:
    """The first failed samples with their causes; the gallery shows all of them."""
    failed = [sample for sample in report.get("samples") or [] if sample["state"] in FAILURE_STATES]
    rows = [
        [
            Cell(words(sample["sample_id"]).text, link=link(sample=sample["sample_id"])),
            words(sample["state"].replace("_", " ")),
            words((cause(sample) or UNKNOWN)[:300]),
        ]
        for sample in failed[:MAX_FAILED_SHOWN]
    ]
    columns = (Column("Sample", text=True), Column("State", text=True), Column("Cause", text=True))
    shown = f"the first {len(rows)} of {len(failed):,}" if len(failed) > len(rows) else f"{len(rows)}"
    return Table("failed", f"Failed samples ({shown})", columns, rows)


def cause(sample: dict[str, Any]) -> str | None:
    """What went wrong with a sample, in a line; None if nothing did."""
    return ": ".join(part for part in (sample.get("error_type"), sample.get("error")) if part) or None


def official(report: dict[str, Any]) -> list[Table]:
    """The figures of the benchmark's protocol, and what others have published for them."""
    found = report.get("official")
    if not found:
        return []
    shown = [("official", f"The benchmark's figures, by protocol {found['protocol']}", official_rows(found))]
    if found["published"]:
        shown.append(("published", "Published elsewhere", published_rows(found)))
    return [_of_words(*one) for one in shown]


def metrics(report: dict[str, Any]) -> list[Table]:
    """What the metric says, and the judge's scores against the true ones."""
    found = report.get("metrics")
    if not found:
        return []
    shown = [("metrics", "What the metric says", metric_rows(found))]
    if found["judge"]:
        shown.append(("calibration", "The judge's scores against the true ones", calibration_rows(found["judge"])))
    return [_of_words(*one) for one in shown]


def _of_words(key: str, caption: str, table: tuple[tuple[str, ...], list[list[str]]]) -> Table:
    header, rows = table
    columns = [Column(name, text=not at) for at, name in enumerate(header)]
    return Table(key, caption, columns, [[*map(words, row)] for row in rows])
