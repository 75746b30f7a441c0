"""How scores are spread over the scale, and whether they pile up on one value."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from editbench.analysis.statistics import TEN, Scale

BINS = 10
_FEWEST = 5
"""With fewer scores, one value holding more than half of them says nothing."""


def histogram(scores: Sequence[float], scale: Scale = TEN) -> dict[str, Any]:
    """Count scores in ten bins of a scale, each without its upper edge but for the last.

    Returns:
        `histogram` with `edges` (11) and `counts` (10); `piled_up` with the `value` that more than half of five scores
        or more have, to two decimals, and their `share`, else None.
    """
    low, high = scale
    edges = [round(low + (high - low) * number / BINS, 6) for number in range(BINS + 1)]
    counts, _ = np.histogram(scores, bins=edges)
    shown = [int(edge) if edge == int(edge) else edge for edge in edges]
    found = {"histogram": {"edges": shown, "counts": counts.tolist()}, "piled_up": None}
    if len(scores) >= _FEWEST:
        value, count = Counter(round(score, 2) for score in scores).most_common(1)[0]
        if 2 * count > len(scores):
            found["piled_up"] = {"value": value, "share": count / len(scores)}
    return found


def piled_up_note(overall: dict[str, Any], categories: dict[str, dict[str, Any]]) -> list[str]:
    """Say where scores pile up; such scores hardly tell edits apart, whatever their interval."""
    sections = {"overall": overall} if overall["piled_up"] else categories
    return [
        f"scores pile up: {section['piled_up']['share']:.0%} of {section['n']} are {section['piled_up']['value']:g} "
        f"({name}); such scores hardly tell edits apart"
        for name, section in sections.items()
        if section["piled_up"]
    ]
