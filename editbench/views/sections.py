"""The categories of a report, as its tables have them, and links from these into the gallery."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from editbench.views.tables import Cell

OVERALL = "All samples"
MACRO = "Mean of categories"


def sections(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name, numbers and filter of the gallery of each category and, last, of all samples."""
    for name, section in (report.get("categories") or {}).items():
        yield name, section, {"category": name}
    yield OVERALL, {**(report.get("overall") or {}), "counts": report.get("counts")}, {}


def link(**chosen: str) -> str:
    """A link into the gallery: to a sample, or to the samples that a filter leaves."""
    return f"#{urlencode(chosen)}"


def linked(cell: Cell, target: str) -> Cell:
    """The cell with a link, unless it counts none."""
    return Cell(cell.text, cell.values, target if cell.values[0] not in ("", "0") else None)
