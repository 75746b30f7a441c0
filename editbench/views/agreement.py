"""How judge and people agree, on the console and as Markdown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from editbench.analysis.agreement import RELATIONS
from editbench.text import printable
from editbench.views.markdown import table, text

NAMES = {
    "spearman": "Spearman",
    "kendall": "Kendall tau-b",
    "pearson": "Pearson",
    "accuracy": "pairwise accuracy",
    "same_sign": "same choice",
    "alpha": "Krippendorff alpha",
}
_METHOD = (
    "Values with their 95 % interval: percentile bootstrap over clusters ({clustered_by}), {resamples} resamples, seed "
    "{seed}. Rater with rater is the ceiling of judge with a single rater. A dash: agree.json has the reason."
)


def agreement_tables(agreement: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Tables as (title, head, rows): per score over all edits, the models' mean, and each model by itself."""
    tables = []
    for name, found in agreement["scores"].items():
        counts = found["counts"]
        basis = f"{counts['compared']} edits in {counts['clusters']} clusters, {counts['ratings']} ratings"
        tables.append((f"{name}: all edits ({basis})", *_relations(found["pooled"])))
        if found["mean"]:
            tables.append((f"{name}: mean over {len(found['models'])} models", *_relations(found["mean"])))
            head = ["model", "edits", *(f"{words}, Spearman" for words in RELATIONS.values()), NAMES["alpha"]]
            rows = [
                [
                    model,
                    str(section["items"]),
                    *(_cell(section[relation]["spearman"]) for relation in RELATIONS),
                    _cell(section["rater_with_rater"]["alpha"]),
                ]
                for model, section in found["models"].items()
            ]
            tables.append((f"{name}: model by model", head, rows))
    return tables


def show_agreement(console: Console, agreement: dict[str, Any], path: Path) -> None:
    """Print the tables, what must be known before them, and where all of it lies."""
    for title, head, rows in agreement_tables(agreement):
        shown = Table(title=escape(printable(title)), title_justify="left")
        for at, column in enumerate(head):
            shown.add_column(column, justify="left" if at == 0 else "right")
        for row in rows:
            shown.add_row(*(escape(printable(cell)) for cell in row))
        console.print(shown)
    for note in agreement["notes"]:
        console.print(printable(note), style="bold yellow", markup=False, highlight=False)
    console.print(f"agreement: {path.absolute()}", markup=False, highlight=False, soft_wrap=True)


def agreement_markdown(agreement: dict[str, Any]) -> str:
    """Lay it out as Markdown; names from files are escaped."""
    parts = [
        "# editbench agreement: judge and people",
        f"Made {agreement['created']} by editbench {agreement['editbench']}.",
        f"Judge: {text(agreement['judge'])}. Ratings: {text(agreement['human'])}, "
        f"raters {text(', '.join(agreement['raters']))}.",
        *(f"> **{text(note)}**" for note in agreement["notes"]),
        _METHOD.format(**agreement),
    ]
    for title, head, rows in agreement_tables(agreement):
        cells = [[text(cell) for cell in row] for row in rows]
        parts += [f"## {text(title)}", table(tuple(head), cells)]
    return "\n\n".join(parts) + "\n"


def _relations(section: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    measures: Sequence[str] = [name for name in NAMES if name in section["rater_with_rater"]]
    rows = [
        [words, *(_cell(section[relation][name]) if name in section[relation] else "" for name in measures)]
        for relation, words in RELATIONS.items()
    ]
    return ["", *(NAMES[name] for name in measures)], rows


def _cell(estimate: dict[str, Any]) -> str:
    """A value with its interval, to three decimals."""
    if estimate["value"] is None:
        return "–"
    interval = estimate["interval"]
    bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else " [–]"
    left_out = f", {estimate['left_out']} left out" if estimate["left_out"] else ""
    return f"{estimate['value']:.3f}{bounds}{left_out}"
