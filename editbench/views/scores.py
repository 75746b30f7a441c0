"""The rows of the table of scores, as console and Markdown show them."""

from collections.abc import Callable
from typing import Any

from editbench.run.records import FAILURE_STATES
from editbench.views.official import scale_of

_STATISTICS = ("std", "median", "min", "max")
COLUMNS = ("category", "mean", "95 % interval", *_STATISTICS, "scored", "failed")

_TURN_COLUMNS = ("turn", "mean", "95 % interval", "mean, failures at the minimum", "scored", "failed")


def score_rows(report: dict[str, Any]) -> list[list[str]]:
    """Statistics per category and, last, overall, always beside how many samples they rest on.

    A score has three decimals, and a dash where it is not known.
    """
    return [
        [
            name,
            number(section["mean"]),
            interval(section["interval"]),
            *(number(section[key]) for key in _STATISTICS),
            f"{section['counts']['scored']} of {section['counts']['planned']}",
            str(sum(section["counts"][state] for state in FAILURE_STATES)),
        ]
        for name, section in sections(report).items()
    ]


def failure_rows(report: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """What failures could change, per category and overall: header and rows; no rows where nothing failed."""
    rows = [
        [
            name,
            number(section["mean_with_failures_as_min"]),
            interval(section["mean_range"]),
            "–" if section["failed_rate"]["rate"] is None else percent(section["failed_rate"]["rate"]),
            interval(section["failed_rate"]["interval"], percent),
        ]
        for name, section in sections(report).items()
    ]
    low, high = scale_of(report)
    means = (f"mean, failures as {low:g}", f"if all failures were {low:g} to {high:g}")
    return ("category", *means, "failed", "95 % interval"), rows if report["overall"]["failed_rate"]["count"] else []


def sections(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The report's categories and, last, `overall`, each with its `counts`."""
    return {**report["categories"], "overall": {**report["overall"], "counts": report["counts"]}}


def turn_rows(report: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Statistics of each turn of the samples in chains: header and rows; no rows without chains."""
    rows = [
        [
            str(turn),
            number(section["mean"]),
            interval(section["interval"]),
            number(section["mean_with_failures_as_min"]),
            f"{section['counts']['scored']} of {section['counts']['planned']}",
            str(sum(section["counts"][state] for state in FAILURE_STATES)),
        ]
        for turn, section in (report.get("turns") or {}).items()
    ]
    return _TURN_COLUMNS, rows


def macro_sentence(report: dict[str, Any]) -> str:
    """The means by name: of all samples (micro), and of the categories' means (macro)."""
    overall = report["overall"]
    macro = overall["macro"]
    if overall["mean"] is None:
        return ""
    return (
        f"Mean of all samples (micro): {number(overall['mean'])} {interval(overall['interval'])}, from "
        f"{overall['clusters']} different source images; mean of {macro['categories']} categories' means (macro): "
        f"{number(macro['mean'])} {interval(macro['interval'])}{why_no_interval(macro)}."
    )


def why_no_interval(macro: dict[str, Any]) -> str:
    """Why the mean of the categories has no interval, in brackets; empty where it has one or the cause is not known."""
    lone = len(macro.get("of_one_source") or ())
    return f" (no interval: {lone} of {macro['categories']} categories from a single source image each)" if lone else ""


def number(value: float | None) -> str:
    """A score or what has its unit, to three decimals."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float) -> str:
    """A rate from 0 to 1 as per cent."""
    return f"{value:.1%}"


def interval(bounds: list[float] | None, shown: Callable[[float], str] = number) -> str:
    """An interval as [low, high]."""
    return "–" if bounds is None else f"[{shown(bounds[0])}, {shown(bounds[1])}]"
