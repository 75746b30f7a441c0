"""What a phase took, over all its starts."""

import statistics
from collections.abc import Iterable
from typing import Any

from editbench.run.records import Edit, Judgment


def sum_up_phase(
    sessions: list[dict[str, Any]], results: Iterable[Edit | Judgment]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Sum up the starts of a phase, and its results.

    Args:
        sessions: Its entries in sessions.json, oldest first.
        results: What it made, of planned samples.

    Returns:
        The editor or judge of the last start, and the phase: the last start, with times and samples of all starts
        together. None and None if it never did anything.
    """
    if not sessions:
        return None, None
    phase = dict(sessions[-1])
    wall_s, samples = sum(s["wall_s"] for s in sessions), sum(s["samples"] for s in sessions)
    phase |= {"starts": len(sessions), "wall_s": round(wall_s, 3), "samples": samples}
    images = samples + sum(s.get("controls", 0) for s in sessions)  # controls take their time too
    phase["images_per_s"] = round(images / wall_s, 4) if wall_s else None
    done = ("edited", "scored", "unparsed")
    latencies = [result.latency_s for result in results if result.state in done and result.latency_s is not None]
    phase["median_latency_s"] = round(statistics.median(latencies), 4) if latencies else None
    return phase.pop("component"), phase
