"""Tables of a page: cells that people read, and the full numbers behind them for copying as CSV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from editbench.text import printable

UNKNOWN = "–"
"""What stands for a number that is not known."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        label: Its heading.
        names: Headings in CSV, one for each of the values of a cell; empty: the label.
        text: Whether it holds words, set flush left, and not numbers.
    """

    label: str
    names: tuple[str, ...] = ()
    text: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell.

    Attributes:
        text: What people read.
        values: What CSV has in its place, as many as its column has `names`; empty: the text.
        link: Where it leads in the page (`#state=unparsed`); None: nowhere.
    """

    text: str
    values: tuple[str, ...] = ()
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        key: Its id in the page.
        caption: What it shows.
        columns: From left to right; the first one names the rows.
        rows: As many cells each as there are columns.
        totals: How many of the last rows sum up those above.
    """

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    totals: int = 0


def at(value: Any, *path: str) -> Any:
    """Go down nested dictionaries; None where a key is missing, as in the reports of earlier versions."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def words(value: Any) -> Cell:
    """A cell of words from wherever: one line, control characters replaced, a dash for None."""
    return Cell(UNKNOWN if value is None else printable(" ".join(str(value).split())))


def number(value: float | None, decimals: int = 2, sign: bool = False) -> Cell:
    """A cell with a number, rounded for people."""
    return Cell(rounded(value, decimals, sign), (exact(value),))


def whole(value: int | None, link: str | None = None) -> Cell:
    """A cell with a count; links are for counts that have something to show."""
    return Cell(UNKNOWN if value is None else f"{value:,}", (exact(value),), link if value else None)


def span(pair: Sequence[float] | None, decimals: int = 2, sign: bool = False) -> Cell:
    """A cell with a lower and an upper bound."""
    low, high = pair if pair else (None, None)
    return Cell(between(pair, decimals, sign), (exact(low), exact(high)))


def rate(counted: dict[str, Any] | None) -> Cell:
    """A cell with a share: the rate, its count and its interval, of `{count, of, rate, interval}`."""
    low, high = at(counted, "interval") or (None, None)
    values = tuple(exact(value) for value in (at(counted, "count"), at(counted, "of"), at(counted, "rate"), low, high))
    if counted is None or at(counted, "rate") is None:
        return Cell(UNKNOWN, values)
    bounds = "" if low is None or high is None else f" ({low:.1%} to {high:.1%})"
    return Cell(f"{counted['rate']:.1%}{bounds}", values)


def rate_names(name: str) -> tuple[str, ...]:
    """The CSV headings of a column of `rate`."""
    return (f"{name} count", f"{name} of", f"{name} rate", f"{name} low", f"{name} high")


def rounded(value: float | None, decimals: int = 2, sign: bool = False) -> str:
    """A number for people, with a true minus; a dash where it is not known."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:+,.{decimals}f}" if sign else f"{value:,.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def between(pair: Sequence[float] | None, decimals: int = 2, sign: bool = False) -> str:
    """Two bounds for people."""
    return UNKNOWN if not pair else f"{rounded(pair[0], decimals, sign)} to {rounded(pair[1], decimals, sign)}"


def exact(value: float | None) -> str:
    """A number for machines, all its digits; empty where it is not known."""
    return "" if value is None else repr(value)
