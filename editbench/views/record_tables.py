"""The tables of what is on record of a run: its controls, phases, models and environment."""

from collections import Counter
from typing import Any

from editbench.views.tables import Cell, Column, Table, at, number, rate, span, whole, words


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
