"""What the commands print."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from editbench.run.folder import Plan
from editbench.text import printable
from editbench.views.metrics import judge_sentence, metric_sentence
from editbench.views.official import PUBLISHED_NOTE, official_rows, official_sentence, published_rows, scale_of
from editbench.views.scores import COLUMNS, macro_sentence, score_rows

MAX_FINDINGS = 20
MAX_NAME_CHARS = 60


def plan_table(plan: Plan) -> Table:
    """Samples per category."""
    table = Table(title=f"{len(plan.samples)} samples planned" + _skipped(len(plan.skipped)))
    table.add_column("category")
    table.add_column("samples", justify="right")
    for category, count in sorted(Counter(sample.category for sample in plan.samples).items()):
        table.add_row(escape(short(category)), str(count))
    return table


def _skipped(count: int) -> str:
    return f", {count} record{'s' * (count > 1)} skipped" if count else ""


def short(name: str) -> str:
    """A name from a dataset in one short line of a terminal, without characters that could act there."""
    line = printable(" ".join(name.split()))
    return line if len(line) <= MAX_NAME_CHARS else f"{line[: MAX_NAME_CHARS - 1]}…"


def show_report(console: Console, report: dict[str, Any], path: Path) -> None:
    """Print scores, what must be known before them, and where the whole report lies."""
    if official := report.get("official"):
        _show_official(console, official)
    console.print(score_table(report))
    if sentence := macro_sentence(report):
        console.print(printable(sentence), markup=False, highlight=False)
    if metrics := report["metrics"]:
        judge = metrics["judge"]
        said = [metric_sentence(metrics), *([judge_sentence(judge)] if judge else [])]
        console.print(" ".join(said), markup=False, highlight=False)
    if report["best_category"]:
        console.print(f"best: {short(report['best_category'])}, worst: {short(report['worst_category'])}", markup=False)
    if skipped := _skipped(report["counts"]["skipped"]):
        console.print(f"{report['counts']['planned']} samples planned{skipped} as broken (report.md)", markup=False)
    for note in report["notes"]:
        console.print(printable(note), style="bold yellow", markup=False, highlight=False)
    console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)


def score_table(report: dict[str, Any]) -> Table:
    """Statistics per category and overall."""
    low, high = scale_of(report)
    table = Table(title=f"{escape(report['run'])}: scores from {low:g} to {high:g}")
    shown = [COLUMNS.index(column) for column in ("category", "mean", "95 % interval", "std", "scored", "failed")]
    for i in shown:
        table.add_column(COLUMNS[i], justify="right" if i else "left", no_wrap=i > 0)
    *categories, overall = [[row[i] for i in shown] for row in score_rows(report)]
    for name, *numbers in categories:
        table.add_row(escape(short(name)), *map(escape, numbers))
    table.add_section()
    table.add_row(*overall)
    return table


def _show_official(console: Console, official: dict[str, Any]) -> None:
    """Print the benchmark's own figures, and what others give for them."""
    console.print(_plain_table(f"{official['protocol']}: the benchmark's figures", *official_rows(official)))
    console.print(printable(official_sentence(official)), markup=False, highlight=False)
    if official["published"]:
        console.print(_plain_table("published elsewhere", *published_rows(official)))
        console.print(PUBLISHED_NOTE, markup=False, highlight=False)


def _plain_table(title: str, header: tuple[str, ...], rows: list[list[str]]) -> Table:
    table = Table(title=escape(title))
    for number, column in enumerate(header):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    return table


def show_findings(console: Console, findings: dict[str, list[str]]) -> None:
    """Print what `verify` found, the first few of each kind."""
    for kind, found in findings.items():
        if found:
            console.print(f"{kind}: {len(found)}", markup=False)
        for line in found[:MAX_FINDINGS]:
            console.print(f"  {printable(line)}", markup=False, highlight=False, soft_wrap=True)
        if len(found) > MAX_FINDINGS:
            console.print(f"  … and {len(found) - MAX_FINDINGS} more", markup=False)
    if not any(findings.values()):
        console.print("nothing is missing, damaged, stale or extra", markup=False)
