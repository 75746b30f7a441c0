"""The report and the comparison as pages that a browser opens from the disk: no server, no request to anywhere.

A page carries its styles, scripts, charts and data in itself; pictures are files in `thumbs/` beside it, or in it as
well. Its Content-Security-Policy lets nothing else run or load, and the text of datasets and models reaches it escaped
by Jinja2 or as JSON that scripts show as text.
"""

import base64
import functools
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from editbench.text import printable
from editbench.views import charts, gallery
from editbench.views.compare_tables import comparison_tables
from editbench.views.comparison import verdict
from editbench.views.metrics import judge_sentence
from editbench.views.official import PUBLISHED_NOTE, official_sentence, scale_of
from editbench.views.report_tables import report_tables
from editbench.views.scores import why_no_interval
from editbench.views.sections import sections
from editbench.views.tables import at, between, rounded
from editbench.views.verdict import meaningless, not_told_apart, report_verdict

_SCRIPTS = ("tables.js", "gallery.js")


def to_html(report: dict[str, Any], inline_from: Path | None = None) -> str:
    """Lay a report out as a page.

    Args:
        report: As `build_report` makes it; what reports of earlier versions lack is shown as a dash.
        inline_from: The run folder, to put the thumbnails into the page; None leaves them in `thumbs/` beside it.
    """
    shown, (low, high) = gallery.report_gallery(report), scale_of(report)
    return _render(
        "report.html.jinja",
        gallery.inline_images(shown, inline_from) if inline_from else shown,
        report=report,
        title=f"{at(report, 'run') or 'run'}: editbench report",
        heading=at(report, "run") or "run",
        kind="report",
        verdict=report_verdict(report),
        doubtful=meaningless(report) or bool(not_told_apart(report)),
        figures=_figures(report),
        tables=report_tables(report),
        intervals=list(_interval_rows(report)),
        histograms=list(_histograms(report)),
        answered=_answered(report),
        scale=scale_of(report),
        ticks=[f"{low + (high - low) * number / 10:g}" for number in range(0, 11, 2)],
        configuration=yaml.safe_dump(report.get("config"), allow_unicode=True, sort_keys=False, width=120),
    )


def compare_to_html(comparison: dict[str, Any], inline_from: Path | None = None) -> str:
    """Lay a comparison out as a page.

    Args:
        comparison: What compare.json holds.
        inline_from: The folder where its paths of thumbnails start, to put these into the page; None leaves them there.
    """
    shown = gallery.comparison_gallery(comparison)
    names = [printable(run["name"]) for run in comparison.get("runs") or []]
    return _render(
        "compare.html.jinja",
        gallery.inline_images(shown, inline_from) if inline_from else shown,
        report=comparison,
        title=f"{' against '.join(names)}: editbench comparison",
        heading=" against ".join(names),
        kind="comparison",
        verdicts=[verdict(pair) for pair in comparison.get("pairs") or []],
        tables=comparison_tables(comparison),
        forests=[_forest(pair) for pair in comparison.get("pairs") or []],
        scatter=_scatter(comparison),
        scale=scale_of(comparison),
        names=names,
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("editbench.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: "–" if value is None else value,
    )
    environment.globals |= {"is_strong": _is_strong, "judge_sentence": judge_sentence}
    environment.globals |= {"official_sentence": official_sentence, "published_note": PUBLISHED_NOTE}
    environment.filters |= {"printable": printable, "json": gallery.as_script_data}
    return environment


def _is_strong(note: str) -> bool:
    """Whether a note takes the ground from under the numbers, and does not only explain them."""
    return any(words in note for words in ("PARTIAL", "mean nothing", "mean little"))


def _source(name: str) -> str:
    """The text of a file among the templates, as it is."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def _render(template: str, shown: dict[str, Any], **context: Any) -> str:
    scripts, style = [_source(name) for name in _SCRIPTS], _source("style.css")
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(map(_digest, scripts)),
        "style-src": _digest(style),
        "img-src": "'self' file: data:",  # a page of its own folder, opened from the disk or from a server; in the page
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return (
        _environment()
        .get_template(template)
        .render(
            policy="; ".join(f"{key} {value}" for key, value in policy.items()),
            style=Markup(style),
            scripts=[Markup(script) for script in scripts],
            gallery=shown,
            categories=gallery.choices(shown["samples"], "category"),
            states=[name for name in shown["state_names"] if name in gallery.choices(shown["samples"], "state")],
            **context,
        )
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _figures(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The figures under the verdict: name, value, and what it is of."""
    counts, overall = report.get("counts") or {}, report.get("overall") or {}
    failed = sum(counts.get(key) or 0 for key in ("edit_failed", "invalid_output", "unparsed", "judge_failed"))
    planned = counts.get("planned") or 0
    low, high = scale_of(report)
    found = [
        ("Scored", f"{counts.get('scored') or 0:,}", f"of {planned:,} planned"),
        ("Failed", f"{failed:,}", f"{failed / planned:.1%} of planned" if planned else ""),
        ("Mean of categories", rounded(at(overall, "macro", "mean")), _macro_interval(overall.get("macro") or {})),
        (f"Failures counted as {low:g}", rounded(overall.get("mean_with_failures_as_min")), "mean of all that is done"),
        ("Left open by failures", between(overall.get("mean_range")), f"mean, failures as {low:g} or as {high:g}"),
    ]
    no_op = at(overall, "pixels", "no_op", "rate")
    if no_op is not None:
        found.append(("Almost nothing changed", f"{no_op:.1%}", "of the edits"))
    seconds = at(report, "phases", "edit", "median_latency_s")
    if seconds is not None:
        found.append(("Seconds per edit", rounded(seconds), "median"))
    return [figure for figure in found if figure[1] != "–"]


def _macro_interval(macro: dict[str, Any]) -> str:
    return printable(why_no_interval(macro).strip(" ()")) or between(macro.get("interval"))


def _interval_rows(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    overall, scale = at(report, "overall", "mean"), scale_of(report)
    for name, section, _ in sections(report):
        mean, bounds = section.get("mean"), section.get("interval")
        title = f"{printable(name)}: mean {rounded(mean)}, 95% interval {between(bounds)}"
        mark = overall if overall is not None else scale[0]
        yield {"name": name, "chart": charts.interval(mean, bounds, scale, mark, title), "value": rounded(mean)}


def _histograms(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    words = "from {:g} to {:g}".format(*scale_of(report))
    for name, section, _ in sections(report):
        counts = at(section, "histogram", "counts")
        if counts and sum(counts):
            title = f"Histogram of the scores of {printable(name)}, per bin {words}: {', '.join(map(str, counts))}"
            piled = section.get("piled_up")
            warning = piled and f"{piled['share']:.0%} of the scores are {rounded(piled['value'])}"
            yield {"name": name, "n": sum(counts), "chart": charts.histogram(counts, title), "warning": warning}


def _answered(report: dict[str, Any]) -> str:
    names = {
        "free": "read from a free reply",
        "prefilled": "completed by the judge behind a prefilled “Score:”",
        "probabilities": "from the probabilities of labels",
    }
    found = at(report, "overall", "answered") or {}
    return "; ".join(f"{names.get(how, how)}: {count:,}" for how, count in found.items())


def _forest(pair: dict[str, Any]) -> dict[str, Any]:
    """The differences of a pair by category and over all, on one axis that is as wide to both sides."""
    found = {**(pair.get("categories") or {}), "All samples": pair["overall"]}
    bounds = [abs(bound) for section in found.values() for bound in section.get("interval") or ()]
    widest = max([*bounds, *(abs(section.get("difference") or 0) for section in found.values()), 0.1])
    limit = next(step for step in (0.25, 0.5, 1, 2, 3, 5, 10, widest) if step >= widest)
    rows = []
    for name, section in found.items():
        difference, interval = section.get("difference"), section.get("interval")
        title = f"{printable(name)}: difference {rounded(difference, sign=True)}, 95% interval {between(interval)}"
        chart = charts.interval(difference, interval, (-limit, limit), 0.0, title)
        rows.append({"name": name, "chart": chart, "value": rounded(difference, sign=True)})
    axis = [rounded(-limit, 2), "0", rounded(limit, 2, sign=True)]
    return {"base": pair["base"], "other": pair["other"], "rows": rows, "axis": axis}


def _scatter(comparison: dict[str, Any]) -> Markup | None:
    """The first other run's scores against the base's; None where no sample has both."""
    names = [run["name"] for run in comparison.get("runs") or []][:2]
    found = [[at(sample, "scores", name) for name in names] for sample in comparison.get("samples") or []]
    low, high = scale_of(comparison)
    digits = 1 if high - low >= 10 else 2
    points = Counter(
        (round(pair[0], digits), round(pair[1], digits)) for pair in found if len(pair) == 2 and None not in pair
    )
    if not points:
        return None
    base, other = map(printable, names)
    title = f"Scores of {other} against those of {base}, {points.total():,} samples; above the line {other} is better"
    return charts.scatter(points, (base, other), title, (low, high))
