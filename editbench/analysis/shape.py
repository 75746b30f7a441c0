"""Whether edits kept the shape of their sources: an editor that stretches or crops is judged on another picture."""

import statistics
from collections.abc import Iterable
from typing import Any

from editbench.run.records import Edit

LIMIT = 0.05
"""Aspect ratios that differ by more count as another shape; sizes rounded to multiples of 16 or 32 differ by less."""


def compare_shapes(edits: Iterable[Edit]) -> dict[str, Any]:
    """Compare the aspect ratios (width / height) of edited images with those of their sources.

    Args:
        edits: Edits with an image.

    Returns:
        `compared`: edits of which both sizes are on record; `changed`: those of another shape; `median_change` and
        `largest_change` of these (0.25: one side is 25 % longer than it was to the other; None without any), and
        `largest_change_of`, a sample id.
    """
    changes = {
        edit.sample_id: _change(edit.source_width / edit.source_height, edit.width / edit.height)
        for edit in edits
        if edit.source_width and edit.source_height and edit.width and edit.height
    }
    changed = {sample_id: change for sample_id, change in changes.items() if change > LIMIT}
    largest = max(changed, key=lambda sample_id: changed[sample_id], default=None)
    return {
        "compared": len(changes),
        "changed": len(changed),
        "median_change": round(statistics.median(changed.values()), 4) if changed else None,
        "largest_change": round(changed[largest], 4) if largest is not None else None,
        "largest_change_of": largest,
    }


def shape_note(shape: dict[str, Any]) -> list[str]:
    """Say what `compare_shapes` found, in a sentence; empty where every edit kept its shape."""
    if not shape["changed"]:
        return []
    median, largest = (f"{shape[key]:.0%}" for key in ("median_change", "largest_change"))
    return [
        f"shape: {shape['changed']} of {shape['compared']} edits have another aspect ratio than their source, by "
        f"{median} in the median, {largest} at most ({shape['largest_change_of']})"
    ]


def _change(before: float, after: float) -> float:
    return max(before / after, after / before) - 1
