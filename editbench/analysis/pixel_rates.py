"""What the pixels of many edits say together."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from editbench.analysis.statistics import rate


def summarize_pixels(measured: Iterable[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Sum up the figures of edits, of a category or of all.

    Args:
        measured: What `pixels.measure` gave for each; None for an edit that was not measured.

    Returns:
        `n` edits that were measured; `no_op` and `drifted` as `rate` gives them, `drifted` of those of which it is
        known; medians of `psnr` in dB, `ssim` and `changed`, None where there is none: that of `psnr` also where most
        edits are identical to their source. None if nothing was measured.
    """
    known = [figures for figures in measured if figures is not None]
    if not known:
        return None
    drifted = [figures["drifted"] for figures in known if figures["drifted"] is not None]
    psnr = [math.inf if figures["psnr"] is None else figures["psnr"] for figures in known]
    return {
        "n": len(known),
        "no_op": rate(sum(figures["no_op"] for figures in known), len(known)),
        "drifted": rate(sum(drifted), len(drifted)),
        "psnr": _median(psnr),
        "ssim": _median([figures["ssim"] for figures in known if figures["ssim"] is not None]),
        "changed": _median([figures["changed"] for figures in known]),
    }


def _median(values: list[float]) -> float | None:
    middle = statistics.median(values) if values else math.inf
    return round(middle, 5) if math.isfinite(middle) else None
