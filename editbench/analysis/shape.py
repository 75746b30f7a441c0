"""Whether edits kept the shape of their sources: an editor that stretches or crops is judged on another picture."""

import statistics
from collections.abc import Iterable
from typing import Any

from editbench.run.records import Edit

LIMIT = 0.05
"""Aspect ratios that differ by more count as another shape; sizes rounded to multiples of 16 or 32 differ by less."""


def shape_change(first: tuple[int, int], second: tuple[int, int]) -> float:
    """By how much one side has become longer to the other: 0.25 from 4:4 to 5:4 as from 5:4 to 4:4.

    Args:
        first, second: (width, height) in pixels.
    """
    ratio = second[0] * first[1] / (second[1] * first[0])
    return max(ratio, 1 / ratio) - 1


def compare_shapes(edits: Iterable[Edit]) -> dict[str, Any]:
    """Compare the aspect ratios (width / height) of edited images with those of their sources.

    Args:
        edits: Edits with an image.

    Returns:
        `compared`: edits of which both sizes are on record; `changed`: those of another shape; of these (None without
        any) `median_change` and `largest_change` (0.25: one side has become 25 % longer to the other), and
        `largest_change_of`, a sample id.
    """
    changes: list[tuple[float, str]] = []
    for edit in edits:
        if edit.source_width and edit.source_height and edit.width and edit.height:
            change = shape_change((edit.source_width, edit.source_height), (edit.width, edit.height))
            changes.append((change, edit.sample_id))
    changed = [change for change in changes if change[0] > LIMIT]
    largest, sample_id = max(changed, default=(None, None))
    median = statistics.median(change for change, _ in changed) if changed else None
    return {
        "compared": len(changes),
        "changed": len(changed),
        "median_change": median and round(median, 4),
        "largest_change": largest and round(largest, 4),
        "largest_change_of": sample_id,
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
