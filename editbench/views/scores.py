"""The rows of the table of scores, as console and Markdown show them."""

from typing import Any

from editbench.run.records import FAILURE_STATES

_STATISTICS = ("mean", "std", "median", "min", "max")
COLUMNS = ("category", *_STATISTICS, "scored", "failed")


def score_rows(report: dict[str, Any]) -> list[list[str]]:
    """Statistics per category and, last, overall, always beside how many samples they rest on.

    A score has three decimals, and a dash where it is not known.
    """
    sections = {**report["categories"], "overall": {**report["overall"], "counts": report["counts"]}}
    rows = []
    for name, section in sections.items():
        numbers = ["–" if section[key] is None else f"{section[key]:.3f}" for key in _STATISTICS]
        counts = section["counts"]
        failed = sum(counts[state] for state in FAILURE_STATES)
        rows.append([name, *numbers, f"{counts['scored']} of {counts['planned']}", str(failed)])
    return rows
