"""Rows of the table, and the arithmetic behind them: pure functions, no clock."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of several measurements."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return _number(self.median)
        return f"{_number(self.median)} ({_number(self.low)}..{_number(self.high)})"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        measured: What was measured.
        against: What it is set against.
        value: What came out; None if it could not be measured.
        unit: Of the value; "" for a ratio.
        reach: What is to be reached, in words; "" for nothing.
        reached: Whether it was; None where nothing is to be reached.
        note: What has to be known beside it.
        details: Numbers for the JSON file alone.
    """

    measured: str
    against: str
    value: Spread | None
    unit: str = ""
    reach: str = ""
    reached: bool | None = None
    note: str = ""
    details: Any = None


def at_least(bound: float) -> tuple[str, Callable[[float], bool]]:
    """A reach: this much or more."""
    return f">= {bound:g}", lambda value: value >= bound


def at_most(bound: float) -> tuple[str, Callable[[float], bool]]:
    """A reach: this much or less."""
    return f"<= {bound:g}", lambda value: value <= bound


def row(
    measured: str,
    against: str,
    values: Sequence[float],
    reach: tuple[str, Callable[[float], bool]] | None = None,
    unit: str = "",
    note: str = "",
    details: Any = None,
) -> Row:
    """Make a row of repeated measurements; the median decides whether the reach was reached."""
    value = spread(values)
    words, holds = reach or ("", None)
    return Row(measured, against, value, unit, words, holds(value.median) if holds else None, note, details)


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide the measurements of one side by those of the other, each by the one that ran next to it."""
    return [a / b for a, b in zip(above, below, strict=True)]


def alternate(sides: dict[str, Callable[[], Result]], repeats: int) -> dict[str, list[Result]]:
    """Run all sides in turn, and that again, so that a slow minute of the machine meets all of them."""
    results: dict[str, list[Result]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            results[name].append(run())
    return results


def lower_bound(durations: Sequence[float], ranks: int) -> float:
    """Least time in which `ranks` can do jobs of these durations: max(sum / ranks, longest)."""
    return max(sum(durations) / ranks, max(durations))


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
