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
        known, with medians of those that drifted: `drift_shift`, the larger of the shifts along width and height, in
        percent, and `drift_zoom`; `size_changed` and `shape_changed` as `rate` gives them; medians
        of `psnr` in dB, `ssim` and `changed`, None where there is none: that of `psnr` also where most edits are
        identical to their source; `masked`, what `_inside_and_outside` gives of edits whose samples have a mask, None
        without one. None if nothing was measured.
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
        **_of_drifted([figures for figures in known if figures["drifted"]]),
        "size_changed": rate(sum(figures["size_changed"] for figures in known), len(known)),
        "shape_changed": rate(sum(figures["stretched"] for figures in known), len(known)),
        "psnr": _median(psnr),
        "ssim": _median([figures["ssim"] for figures in known if figures["ssim"] is not None]),
        "changed": _median([figures["changed"] for figures in known]),
        "masked": _inside_and_outside(known),
    }


def _of_drifted(drifted: list[dict[str, Any]]) -> dict[str, float | None]:
    return {
        "drift_shift": _median([max(map(abs, figures["shift"])) for figures in drifted if figures["shift"]]),
        "drift_zoom": _median([figures["zoom"] for figures in drifted if figures["zoom"]]),
    }


def _inside_and_outside(known: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Sum up what is inside and outside masks.

    Returns:
        `n` edits measured by a mask; `without_figures`: those whose mask could not be read or has another size; of the
        edits that have pixels there the medians `psnr_inside`, `psnr_outside`, `ssim_inside` and `ssim_outside`, a PSNR
        None where most are identical; `identical_outside` counts the edits that changed nothing outside.
    """
    failed = sum(bool(figures.get("mask_error")) for figures in known)
    masked = [figures for figures in known if figures.get("mask_share") is not None]
    if not masked and not failed:
        return None
    found: dict[str, Any] = {"n": len(masked), "without_figures": failed}
    for side, emptied_by in (("inside", 0), ("outside", 1)):
        there = [figures for figures in masked if figures["mask_share"] != emptied_by]
        psnr = [math.inf if figures[f"psnr_{side}"] is None else figures[f"psnr_{side}"] for figures in there]
        ssim = [figures[f"ssim_{side}"] for figures in there if figures[f"ssim_{side}"] is not None]
        found |= {f"psnr_{side}": _median(psnr), f"ssim_{side}": _median(ssim)}
    found["identical_outside"] = sum(f["mask_share"] != 1 and f["psnr_outside"] is None for f in masked)
    return found


def _median(values: list[float]) -> float | None:
    middle = statistics.median(values) if values else math.inf
    return round(middle, 5) if math.isfinite(middle) else None
