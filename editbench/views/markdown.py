"""The report as Markdown, for people."""

import re
from typing import Any

from editbench.run.records import FAILURE_STATES
from editbench.text import printable
from editbench.views.controls import control_rows
from editbench.views.metrics import calibration_rows, judge_sentence, metric_rows
from editbench.views.official import PUBLISHED_NOTE, official_rows, official_sentence, published_rows
from editbench.views.pixel_tables import masks
from editbench.views.scores import COLUMNS, failure_rows, macro_sentence, score_rows, turn_rows

MAX_FAILED_SHOWN = 50
_ENTITIES = {"<": "&lt;", "&": "&amp;"}


def to_markdown(report: dict[str, Any]) -> str:
    """Lay a report out as Markdown; text from datasets and models is escaped."""
    parts = [
        f"# editbench report: {text(report['run'])}",
        f"Made {report['created']} by editbench {report['editbench']}.",
    ]
    parts += [f"> **{text(note)}**" for note in report["notes"]]
    parts += _official(report.get("official"))
    parts += ["## Scores", table(COLUMNS, [[text(cell) for cell in row] for row in score_rows(report)])]
    parts += [text(macro_sentence(report)), _failures_count(report), _histogram(report["overall"])]
    parts.append(_answered(report["overall"]["answered"]))
    if report["best_category"]:
        parts.append(f"Best category: {text(report['best_category'])}. Worst: {text(report['worst_category'])}.")
    header, turns = turn_rows(report)
    parts += ["## By turn", table(header, turns)] if turns else []
    parts += controls_section(report["controls"])
    parts += [*_pixels(report), *_metrics(report["metrics"])]
    parts += ["## Samples", _counts(report), *_failures(report)]
    parts += ["## How it was made", _phases(report)]
    parts += [_made_by("Editor", report["editor"]), _made_by("Judge", report["judge"])]
    parts += [_environment(name, phase["environment"]) for name, phase in report["phases"].items() if phase]
    parts.append("The whole configuration and every sample's state stand in report.json.")
    return "\n\n".join(part for part in parts if part) + "\n"


def text(value: Any) -> str:
    """Make a value harmless inside Markdown: no markup, HTML, table cells, line breaks or escapes of its own."""
    line = printable(" ".join(str(value).split()))
    return re.sub(r"[\\`*_\[\]|<>&~$]", lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), line)


def table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """Lay out a table; its cells are Markdown."""
    lines = [header, ("---",) + ("---:",) * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _official(official: dict[str, Any] | None) -> list[str]:
    """The benchmark's own figures, and what others give for them; empty for a protocol without figures."""
    if official is None:
        return []
    header, rows = official_rows(official)
    parts = ["## The benchmark's figures", text(official_sentence(official)), _escaped(header, rows)]
    if official["published"]:
        parts += ["### Published elsewhere", text(PUBLISHED_NOTE), _escaped(*published_rows(official))]
    return parts


def _escaped(header: tuple[str, ...], rows: list[list[str]]) -> str:
    return table(header, [[text(cell) for cell in row] for row in rows])


def _failures_count(report: dict[str, Any]) -> str:
    header, rows = failure_rows(report)
    return table(header, [[text(cell) for cell in row] for row in rows]) if rows else ""


def _histogram(overall: dict[str, Any]) -> str:
    """How many scores lie in each bin."""
    counts, edges = overall["histogram"]["counts"], overall["histogram"]["edges"]
    header = ("scores from", *(f"{low}" for low in edges[:-1]))
    return table(header, [["samples", *map(str, counts)]]) if overall["n"] else ""


def _answered(counts: dict[str, int]) -> str:
    """How many scores were read from free replies, and for how many `Score: ` was put behind the reply."""
    free, prefilled = counts.get("free", 0), counts.get("prefilled", 0)
    if not free + prefilled:
        return ""
    shares = [f"{count} ({count / (free + prefilled):.1%})" for count in (free, prefilled)]
    return f"Read from free replies: {shares[0]}; completed by the judge behind the prefilled `Score:`: {shares[1]}."


def controls_section(controls: dict[str, Any] | None) -> list[str]:
    """Whether the judge can tell, in a table and in sentences; nothing without controls."""
    if controls is None:
        return []
    said = "\n".join(f"- {text(sentence)}" for sentence in controls["sentences"])
    header, rows = control_rows(controls)
    return [
        "## Can the judge tell?",
        table(header, [[text(cell) for cell in row] for row in rows]) if rows else "",
        said,
    ]


def _pixels(report: dict[str, Any]) -> list[str]:
    """What the pixels say of each category's edits; empty where nothing was measured."""
    rows = [
        [
            text(name),
            str(pixels["n"]),
            _rate(pixels["no_op"]),
            "–" if pixels["psnr"] is None else f"{pixels['psnr']:.1f}",
            "–" if pixels["ssim"] is None else f"{pixels['ssim']:.3f}",
            _rate(pixels["drifted"]),
            "–" if pixels["drift_shift"] is None else f"{pixels['drift_shift']:.2f} %",
            "–" if pixels["drift_zoom"] is None else f"{pixels['drift_zoom']:.3f}",
            _rate(pixels["size_changed"]),
            _rate(pixels["shape_changed"]),
        ]
        for name, section in {**report["categories"], "overall": report["overall"]}.items()
        if (pixels := section.get("pixels"))
    ]
    if not rows:
        return []
    header: tuple[str, ...] = (
        "category",
        "measured",
        "almost unchanged",
        "median PSNR in dB",
        "median SSIM",
        "drifted",
    )
    header += ("median shift of these", "median zoom of these", "other size", "other shape")
    note = "Rates with their 95 % interval; none of it enters a score. Drift is counted where it could be told."
    return ["## What the pixels say", table(header, rows), note, *_masks(report)]


def _masks(report: dict[str, Any]) -> list[str]:
    """What was changed inside and outside the masks; empty where no sample has one."""
    found = masks(report)
    header = tuple(column.label for column in found.columns)
    return [table(header, [[text(cell.text) for cell in row] for row in found.rows])] if found.rows else []


def _metrics(metrics: dict[str, Any] | None) -> list[str]:
    """What the metric says, and how far the judge agrees with it; empty without one."""
    if metrics is None:
        return []
    header, rows = metric_rows(metrics)
    parts = ["## What the metric says", table(header, [[text(cell) for cell in row] for row in rows])]
    if metrics["judge"]:
        header, rows = calibration_rows(metrics["judge"])
        parts += [text(judge_sentence(metrics["judge"])), table(header, rows)]
    return parts


def _rate(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "–"
    low, high = (f"{end:.0%}" for end in rate["interval"])
    return f"{rate['count']} of {rate['of']}: {rate['rate']:.0%} ({low} to {high})"


def _counts(report: dict[str, Any]) -> str:
    return table(
        ("samples", "count"), [[text(name.replace("_", " ")), str(count)] for name, count in report["counts"].items()]
    )


def _failures(report: dict[str, Any]) -> list[str]:
    failed = [o for o in report["samples"] if o["state"] in FAILURE_STATES]
    if not failed:
        return []
    rows = [
        [text(o["sample_id"]), text(o["state"]), text(": ".join(filter(None, (o["error_type"], o["error"])))[:300])]
        for o in failed[:MAX_FAILED_SHOWN]
    ]
    more = f"… and {len(failed) - MAX_FAILED_SHOWN} more." if len(failed) > MAX_FAILED_SHOWN else ""
    return ["### Failed samples", table(("sample", "state", "cause"), rows), more]


def _phases(report: dict[str, Any]) -> str:
    rows = []
    for name, phase in report["phases"].items():
        if phase is None:
            rows.append([name, "not run", *[""] * 6])
            continue
        devices = phase.get("devices", [])
        rows.append(
            [
                name,
                str(phase["starts"]),
                f"{phase['wall_s']:.1f}",
                str(phase["samples"]),
                "–" if phase["images_per_s"] is None else f"{phase['images_per_s']:.3f}",
                "–" if phase["median_latency_s"] is None else f"{phase['median_latency_s']:.3f}",
                _loading(phase),
                text(", ".join(devices)),
            ]
        )
    figures = ("seconds", "images", "images per second", "median seconds per image", "last load")
    header = ("phase", "starts", *figures, "devices")
    return table(header, rows)


def _loading(phase: dict[str, Any]) -> str:
    """Seconds of loading the model in the last start, and rank 0's peak memory by then."""
    if "load_s" not in phase:
        return "–"
    peak = f", {phase['load_peak_gib']:.1f} GiB" if "load_peak_gib" in phase else ""
    return f"{phase['load_s']:.1f} s{peak}"


def _made_by(title: str, model: dict[str, Any] | None) -> str:
    if model is None:
        return ""
    lines = [f"- {text(key)}: {text(value)}" for key, value in model.items() if value not in (None, "")]
    return "\n".join([f"### {title}", "", *lines])


def _environment(phase: str, environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if version)
    commit = environment["git_commit"] or "unknown"
    return text(
        f"Phase {phase} ran on {environment['host']} with Python {environment['python']}, {versions}, commit {commit}."
    )
