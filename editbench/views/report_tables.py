"""The tables of a report's page. What a report lacks, as one of an earlier version does, is a dash."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from editbench.run.records import FAILURE_STATES, State
from editbench.views.metrics import calibration_rows, metric_rows
from editbench.views.official import official_rows, published_rows, scale_of
from editbench.views.scores import turn_rows
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

OVERALL = "All samples"
MACRO = "Mean of categories"


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


def sections(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name, numbers and filter of the gallery of each category and, last, of all samples."""
    for name, section in (report.get("categories") or {}).items():
        yield name, section, {"category": name}
    yield OVERALL, {**(report.get("overall") or {}), "counts": report.get("counts")}, {}


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


def pixels(report: dict[str, Any]) -> Table:
    """What the pixels say without a judge."""
    columns = (
        Column("Category", text=True),
        Column("Measured"),
        Column("No-op", rate_names("no-op")),
        Column("Drifted", rate_names("drifted")),
        Column("Shift of the drifted in %, median", ("drift shift median",)),
        Column("Zoom of the drifted, median", ("drift zoom median",)),
        Column("Other size", rate_names("size changed")),
        Column("Other shape", rate_names("shape changed")),
        Column("Changed pixels, median", ("changed median",)),
        Column("PSNR in dB, median", ("psnr median",)),
        Column("SSIM, median", ("ssim median",)),
    )
    rows = []
    for name, section, chosen in sections(report):
        measured = section.get("pixels")
        if measured is None:
            continue
        changed = measured.get("changed")
        rows.append(
            [
                words(name),
                whole(measured.get("n")),
                _linked(rate(measured.get("no_op")), link(**chosen, flag="no-op")),
                _linked(rate(measured.get("drifted")), link(**chosen, flag="drifted")),
                number(measured.get("drift_shift")),
                number(measured.get("drift_zoom"), 3),
                _linked(rate(measured.get("size_changed")), link(**chosen, flag="size changed")),
                _linked(rate(measured.get("shape_changed")), link(**chosen, flag="shape changed")),
                Cell(UNKNOWN if changed is None else f"{changed:.1%}", number(changed).values),
                number(measured.get("psnr"), 1),
                number(measured.get("ssim"), 3),
            ]
        )
    return Table("pixels", "What the pixels say, without a judge", columns, rows, totals=1)


def official(report: dict[str, Any]) -> list[Table]:
    """The figures of the benchmark's protocol, and what others have published for them."""
    found = report.get("official")
    if not found:
        return []
    shown = [("official", f"The benchmark's figures, by protocol {found['protocol']}", official_rows(found))]
    if found["published"]:
        shown.append(("published", "Published elsewhere", published_rows(found)))
    return [_of_words(*one) for one in shown]


def masks(report: dict[str, Any]) -> Table:
    """What was changed inside the masks, where the edit belongs, and what outside."""
    columns = (
        Column("Category", text=True),
        Column("Measured"),
        Column("PSNR inside, median", ("psnr inside median",)),
        Column("PSNR outside, median", ("psnr outside median",)),
        Column("SSIM inside, median", ("ssim inside median",)),
        Column("SSIM outside, median", ("ssim outside median",)),
        Column("Identical outside"),
        Column("Without figures"),
    )
    rows = [
        [
            words(name),
            whole(found["n"]),
            *(number(found[f"psnr_{side}"], 1) for side in ("inside", "outside")),
            *(number(found[f"ssim_{side}"], 3) for side in ("inside", "outside")),
            whole(found["identical_outside"]),
            whole(found["without_figures"]),
        ]
        for name, section, _ in sections(report)
        if (found := at(section, "pixels", "masked"))
    ]
    return Table("masks", "Inside and outside the masks", columns, rows, totals=1)


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


def controls(report: dict[str, Any]) -> list[Table]:
    """Each part of the controls that is a row or a list of rows, as a table with the columns that its rows have."""
    parts = {key: [part] if isinstance(part, dict) else part for key, part in (report.get("controls") or {}).items()}
    return [
        _generic(f"controls-{key}", f"Controls: {key.replace('_', ' ')}", rows)
        for key, rows in parts.items()
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    ]


def _generic(key: str, caption: str, rows: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    plain = {name for name in names if any(isinstance(row.get(name), str) for row in rows)}
    columns = [Column(name.replace("_", " ").capitalize(), text=name in plain) for name in names]
    return Table(key, caption, columns, [[_anything(row.get(name)) for name in names] for row in rows])


def _anything(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(f"{value:,}", (repr(value),))
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict) and {"count", "of", "rate"} <= value.keys():
        return Cell(rate(value).text)
    if isinstance(value, list) and len(value) == 2 and all(isinstance(bound, int | float) for bound in value):
        return Cell(span(value).text)
    return words(value.replace("_", " ") if isinstance(value, str) else value)


def phases(report: dict[str, Any]) -> Table:
    """What each phase took, over all its starts."""
    columns = (
        Column("Phase", text=True),
        Column("Starts"),
        Column("Seconds"),
        Column("Samples"),
        Column("Samples per second"),
        Column("Median seconds per sample"),
        Column("Loading, seconds"),
        Column("Peak memory in loading, GiB"),
        Column("Devices", text=True),
    )
    rows = []
    for name, phase in (report.get("phases") or {}).items():
        decimals = {"wall_s": 1, "images_per_s": 3, "median_latency_s": 3, "load_s": 1, "load_peak_gib": 1}
        wall, speed, latency, load, peak = (number(at(phase, key), places) for key, places in decimals.items())
        numbers = [whole(at(phase, "starts")), wall, whole(at(phase, "samples")), speed, latency, load, peak]
        devices = ", ".join(f"{n} × {device}" for device, n in Counter(at(phase, "devices") or []).items())
        rows.append([words(name), *numbers, words((devices or None) if phase else "not run")])
    return Table("phases", "Phases", columns, rows)


def models(report: dict[str, Any]) -> Table:
    """Everything on record of the editor and the judge."""
    rows = [
        [words(role), words(key.replace("_", " ")), words(_settings(value))]
        for role in ("editor", "judge")
        for key, value in (report.get(role) or {}).items()
        if value not in (None, "", [], {})
    ]
    columns = (Column("Model", text=True), Column("What", text=True), Column("Value", text=True))
    return Table("models", "Editor and judge", columns, rows)


def _settings(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item!r}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def environment(report: dict[str, Any]) -> Table:
    """Where the phases ran, and on which versions."""
    rows = []
    for name, phase in (report.get("phases") or {}).items():
        found = at(phase, "environment") or {}
        facts = {key: found.get(key) for key in ("host", "python", "git_commit")} if found else {}
        facts |= at(found, "versions") or {}
        rows += [[words(name), words(key.replace("_", " ")), words(value)] for key, value in facts.items() if value]
    columns = (Column("Phase", text=True), Column("What", text=True), Column("Value", text=True))
    return Table("environment", "Environment", columns, rows)


def link(**chosen: str) -> str:
    """A link into the gallery: to a sample, or to the samples that a filter leaves."""
    return f"#{urlencode(chosen)}"


def _linked(cell: Cell, target: str) -> Cell:
    return Cell(cell.text, cell.values, target if cell.values[0] not in ("", "0") else None)
