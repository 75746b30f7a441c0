"""A comparison of runs, on the console and as Markdown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from editbench.analysis.paired import tells_apart
from editbench.text import printable
from editbench.views.markdown import table, text
from editbench.views.official import scale_of
from editbench.views.scores import interval, number

COLUMNS = ("category", "base", "other", "difference", "95 % interval", "p", "wins / ties / losses", "detectable", "n")

_ON_CONSOLE = (0, 1, 2, 3, 4, 5, 8)
"""Columns that fit a terminal of 80 characters."""


def verdict(pair: dict[str, Any]) -> str:
    """What a pair of runs comes to, in a sentence."""
    overall, base, other = pair["overall"], pair["base"], pair["other"]
    if overall["difference"] is None:
        return f"{other} and {base} have no sample that both have scored."
    if overall["p"] is None:
        return f"{other} against {base}: {overall['difference']:+.3f}, from too few source images to say more."
    found = f"{overall['difference']:+.3f} points, 95 % interval {interval(overall['interval'])}, {_p(overall)}"
    if tells_apart(overall):
        return f"{other} scores {'higher' if overall['difference'] > 0 else 'lower'} than {base}: {found}."
    least = overall["smallest_detectable"]
    seen = f"; a true difference under {min(least, _width(pair)):.2f} would mostly go unseen here" if least else ""
    return f"{other} and {base} cannot be told apart: {found}{seen}."


def comparison_rows(pair: dict[str, Any]) -> list[list[str]]:
    """The cells of `COLUMNS` per category and, last, overall."""
    return [
        [
            name,
            number(found["base_mean"]),
            number(found["other_mean"]),
            "–" if found["difference"] is None else f"{found['difference']:+.3f}",
            interval(found["interval"]),
            _p(found).removeprefix("p = ").removeprefix("p "),
            f"{found['wins']} / {found['ties']} / {found['losses']}",
            _detectable(found["smallest_detectable"], _width(pair)),
            str(found["n"]),
        ]
        for name, found in {**pair["categories"], "overall": pair["overall"]}.items()
    ]


def _detectable(difference: float | None, width: float) -> str:
    return f"> {width:g}" if difference and difference > width else number(difference)


def _width(pair: dict[str, Any]) -> float:
    low, high = scale_of(pair)
    return high - low


def _p(found: dict[str, Any]) -> str:
    """The p-value, corrected where there are several."""
    p = found.get("p_holm", found["p"])
    return "–" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _remarks(pair: dict[str, Any]) -> Iterator[str]:
    """On which samples the comparison rests."""
    counts, failures = pair["counts"], pair["failures_as_min"]
    yield f"{counts['both_scored']} of {counts['shared']} shared samples have both scores"
    for key, words in (
        ("only_in_base", f"only in {pair['base']}"),
        ("only_in_other", f"only in {pair['other']}"),
        ("without_score_in_base", f"shared, without a score in {pair['base']}"),
        ("without_score_in_other", f"shared, without a score in {pair['other']}"),
    ):
        if counts[key]:
            yield f"{counts[key]} {words}"
    if failures["difference"] is not None and failures["n"] > counts["both_scored"]:
        low, _ = scale_of(pair)
        found = f"{failures['difference']:+.3f} {interval(failures['interval'])} on {failures['n']}"
        yield f"with failures as {low:g}: {found}"


def _ranking_rows(comparison: dict[str, Any]) -> list[list[str]]:
    return [
        [run["name"], number(run["mean"]), str(run["n"]), "cannot be told from the next" * run["ties_with_next"]]
        for run in comparison["ranking"] or []
    ]


_RANKING = ("run", "mean", "samples that all have scored", "")
_EXPLAINED = (
    "p: sign-flip test by source image; of categories, and of several pairs, corrected by Holm. Detectable: the "
    "smallest true difference that this benchmark would have shown in 80 % of cases."
)


def show_comparison(console: Console, comparison: dict[str, Any], path: Path) -> None:
    """Print verdicts, tables, what must be known before them, and where the whole result lies."""
    for pair in comparison["pairs"]:
        rows = [[row[i] for i in _ON_CONSOLE] for row in comparison_rows(pair)]
        columns = tuple(COLUMNS[i] for i in _ON_CONSOLE)
        console.print(_console_table(columns, rows, f"{pair['other']} against {pair['base']}"))
        console.print(printable(verdict(pair)), style="bold", markup=False, highlight=False)
        console.print("; ".join(map(printable, _remarks(pair))), markup=False, highlight=False)
    if comparison["ranking"]:
        console.print(_console_table(_RANKING, _ranking_rows(comparison), "ranking"))
    for note in (*comparison["forced"], *comparison["notes"]):
        console.print(printable(note), style="bold yellow", markup=False, highlight=False)
    console.print(f"comparison: {path}", markup=False, highlight=False, soft_wrap=True)


def _console_table(header: tuple[str, ...], rows: list[list[str]], title: str) -> Table:
    shown = Table(title=escape(printable(title)))
    for column in header:
        shown.add_column(column, justify="left" if column in (header[0], "") else "right")
    for row in rows:
        shown.add_row(*(escape(printable(cell)) for cell in row))
    return shown


def comparison_to_markdown(comparison: dict[str, Any]) -> str:
    """Lay a comparison out as Markdown; text from datasets and models is escaped."""
    names = [run["name"] for run in comparison["runs"]]
    parts = [
        f"# editbench comparison: {text(', '.join(names))}",
        f"Made {comparison['created']} by editbench {comparison['editbench']}.",
    ]
    if comparison["forced"]:
        parts.append(f"> **Compared by force; more than the editor differs: {text('; '.join(comparison['forced']))}**")
    parts += [f"> **{text(note)}**" for note in comparison["notes"]]
    for pair in comparison["pairs"]:
        parts += [
            f"## {text(pair['other'])} against {text(pair['base'])}",
            f"**{text(verdict(pair))}**",
            table(COLUMNS, [[text(cell) for cell in row] for row in comparison_rows(pair)]),
            text("; ".join(_remarks(pair))) + ".",
        ]
    parts.append(_EXPLAINED)
    if comparison["ranking"]:
        parts += ["## Ranking", table(_RANKING, [[text(cell) for cell in row] for row in _ranking_rows(comparison)])]
    parts += ["## Runs", "\n".join(_described(run) for run in comparison["runs"])]
    parts.append("Every sample with its scores stands in compare.json, the largest loss first.")
    return "\n\n".join(parts) + "\n"


def _described(run: dict[str, Any]) -> str:
    changed = f"; editing differs from the base in {text('; '.join(run['changed']))}" if run["changed"] else ""
    scored = f"{run['scored']} of {run['planned']} samples scored"
    return f"- {text(run['name'])} ({text(run['path'])}): {scored}, mean {number(run['mean'])}{changed}"
