"""A comparison of runs, on the console and as Markdown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from editbench.analysis.paired import could_tell, tells_apart
from editbench.text import printable
from editbench.views.console import short
from editbench.views.markdown import table, text
from editbench.views.official import scale_of
from editbench.views.scores import interval, number

COLUMNS = (
    *("category", "base", "other", "difference", "95 % interval", "p", "p, Holm", "n"),
    *("wins / ties / losses", "detectable"),
)

_ON_CONSOLE = ((0, 1, 2, 3, 4, 6, 7), (0, 8, 9))
"""Columns of two tables that fit a terminal of 80 characters."""
_WIDE = 110
"""Characters that all in one table need."""


def verdict(pair: dict[str, Any]) -> str:
    """What a pair of runs comes to, in a sentence."""
    overall, base, other = pair["overall"], pair["base"], pair["other"]
    if overall["difference"] is None:
        return f"{other} and {base} have no sample that both have scored."
    if overall["p"] is None:
        return f"{other} against {base}: {overall['difference']:+.3f}, from too few source images to say more."
    p = _deciding(overall)
    chance = f"p {_p(p)}" if p is not None and p < 0.001 else f"p = {_p(p)}"
    chance += " (Holm)" if p != overall["p"] else ""
    found = f"{overall['difference']:+.3f} points, 95 % interval {interval(overall['interval'])}, {chance}"
    if tells_apart(overall):
        return f"{other} scores {'higher' if overall['difference'] > 0 else 'lower'} than {base}: {found}."
    if not could_tell(overall):
        few = (
            f"too few source images ({overall['clusters']}) for this test, whose p is {overall['least_p']:.3f} at least"
        )
        return f"{other} against {base}: {found}; {few}."
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
            _p(found["p"]),
            _p(_deciding(found)),
            str(found["n"]),
            f"{found['wins']} / {found['ties']} / {found['losses']}",
            _detectable(found["smallest_detectable"], _width(pair)),
        ]
        for name, found in {**pair["categories"], "overall": pair["overall"]}.items()
    ]


def _detectable(difference: float | None, width: float) -> str:
    return f"> {width:g}" if difference and difference > width else number(difference)


def _width(pair: dict[str, Any]) -> float:
    low, high = scale_of(pair)
    return high - low


def _deciding(found: dict[str, Any]) -> float | None:
    """The p that decides: the corrected one where there is one."""
    p: float | None = found["p"] if found.get("p_holm") is None else found["p_holm"]
    return p


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


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
    return [[run["name"], number(run["mean"]), str(run["n"]), neighbour(run)] for run in comparison["ranking"] or []]


def neighbour(run: dict[str, Any]) -> str:
    """What is to be said of a run in the ranking and the next one."""
    if run["mean"] is None:
        return "not ranked: without a score" if not run["n"] else ""
    words = []
    if run.get("too_few"):
        words.append("too few source images to tell it from the next")
    elif run["ties_with_next"]:
        words.append("cannot be told from the next")
    if run.get("opposed"):
        words.append("the next one is better on the samples that just these two have scored")
    return "; ".join(words)


_RANKING = ("run", "mean", "samples that all have scored", "")
_EXPLAINED = (
    "p: sign-flip test by source image. p, Holm: corrected for the number of categories, and overall for that of "
    "pairs; below 0.05 runs can be told apart. Wins, ties and losses are of samples, for the second run. Detectable: "
    "the smallest true difference that this test, so corrected, would have found in 80 % of cases; a dash where it has "
    "too few source images to find any."
)


def show_comparison(console: Console, comparison: dict[str, Any], path: Path) -> None:
    """Print verdicts, tables, what must be known before them, and where the whole result lies."""
    for pair in comparison["pairs"]:
        rows, title = comparison_rows(pair), f"{pair['other']} against {pair['base']}"
        for shown in [_ON_CONSOLE[0] + _ON_CONSOLE[1][1:]] if console.width >= _WIDE else _ON_CONSOLE:
            columns = tuple(COLUMNS[i] for i in shown)
            console.print(_console_table(columns, [[row[i] for i in shown] for row in rows], title))
        console.print(printable(verdict(pair)), style="bold", markup=False, highlight=False)
        console.print("; ".join(map(printable, _remarks(pair))), markup=False, highlight=False)
    if comparison["ranking"]:
        console.print(_console_table(_RANKING, _ranking_rows(comparison), "ranking"))
    console.print(_EXPLAINED, markup=False, highlight=False)
    for note in (*(f"compared by force, differs: {what}" for what in comparison["forced"]), *comparison["notes"]):
        console.print(printable(note), style="bold yellow", markup=False, highlight=False)
    console.print(f"comparison: {path.absolute()}", markup=False, highlight=False, soft_wrap=True)


def _console_table(header: tuple[str, ...], rows: list[list[str]], title: str) -> Table:
    shown = Table(title=escape(printable(title)))
    for column in header:
        shown.add_column(column, justify="left" if column in (header[0], "") else "right")
    for name, *cells in rows:
        shown.add_row(*(escape(text) for text in (short(name), *map(printable, cells))))
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
