"""What the gallery of a page is given: samples as plain data, which templates/gallery.js shows."""

import base64
import itertools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from markupsafe import Markup

from editbench.run.records import State
from editbench.views.report_tables import cause
from editbench.views.tables import at, rounded

STATES: dict[State, str] = {
    "scored": "scored",
    "unparsed": "unparsed",
    "judge_failed": "judge failed",
    "edit_failed": "edit failed",
    "invalid_output": "invalid output",
    "edited": "not judged yet",
    "pending": "not edited yet",
}
OUTCOMES = {"loss": "loss", "win": "win", "tie": "tie", "no score": "no score"}

_REPORT_FACTS = (
    *("Seed", "Edit, seconds", "Judge, seconds", "Source, pixels", "Edit, pixels", "Scores by name"),
    *("Scores of the repeats", "Spread"),
    *("Label", "Label mass", "Changed pixels", "PSNR, dB", "SSIM", "Inside the mask: PSNR, SSIM"),
    *("Outside the mask: PSNR, SSIM", "Mask"),
    *("Shift, % of width and height", "Zoom", "Confidence in shift and zoom", "Source image", "Digest of the edit"),
)
_REPORT_SORTS = (
    ("plan order", "", 1),
    ("score, lowest first", "score", 1),
    ("score, highest first", "score", -1),
    ("changed pixels, fewest first", "changed", 1),
    ("changed pixels, most first", "changed", -1),
    ("SSIM, lowest first", "ssim", 1),
    ("seconds, most first", "seconds", -1),
)
_COMPARISON_SORTS = (("largest loss first", "score", 1), ("largest gain first", "score", -1), ("sample", "id", 1))

_TYPES = {".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def report_gallery(report: dict[str, Any]) -> dict[str, Any]:
    """Lay out the samples of a report, in the plan's order."""
    return {
        "signed": False,
        "image_names": ["source", "edited"],
        "sorts": _REPORT_SORTS,
        "state_names": STATES,
        "fact_names": _REPORT_FACTS,
        "samples": [_report_sample(sample) for sample in report.get("samples") or []],
    }


def _report_sample(sample: dict[str, Any]) -> dict[str, Any]:
    pixels = sample.get("pixels") or {}
    shown = {
        "id": sample["sample_id"],
        "category": sample["category"],
        "state": sample["state"],
        "score": sample.get("score"),
        **{key: sample.get(key) for key in ("instruction", "description")},
        **_said(sample),
        "rewritten": sample.get("rewritten_instruction"),
        "also": sample.get("instruction_in_other_language"),
        "cause": cause(sample),
        "flags": _flags(pixels),
        "values": _known(changed=pixels.get("changed"), ssim=pixels.get("ssim"), seconds=sample.get("edit_latency_s")),
        "images": [_address(at(sample, "thumbs", name)) for name in ("source", "edited")],
        **_more_pictures(sample),
        "facts": _facts(sample, pixels),
    }
    return {key: value for key, value in shown.items() if value not in (None, [])}


def _more_pictures(sample: dict[str, Any]) -> dict[str, Any]:
    """Further sources of a sample that has several, and its reference: an empty address if that cannot be shown."""
    thumbs = sample.get("thumbs") or {}
    return {
        "more_sources": [_address(path) for path in thumbs.get("more_sources") or []],
        "reference": _address(thumbs["reference"] or "") if "reference" in thumbs else None,
    }


def _said(sample: dict[str, Any]) -> dict[str, str | None]:
    """What the judge said: with `judge.repeats` all of it, each reply below its own score, which make up the mean."""
    replies, scores = sample.get("replies") or [], sample.get("scores") or []
    if len(replies) < 2:
        return {"reply": sample.get("reply"), "completion": sample.get("completion")}
    parts = []
    for number, (reply, score) in enumerate(itertools.zip_longest(replies, scores[: len(replies)]), 1):
        more = next(iter((sample.get("completions") or [])[number - 1 : number]), None)
        head = f"Reply {number} of {len(replies)}, {'without a score' if score is None else f'score {rounded(score)}'}:"
        parts.append(f"{head}\n{'–' if reply is None else reply}" + (f"\nScore: {more}" if more else ""))
    return {"reply": "\n\n".join(parts), "completion": None}


def _known(**values: float | None) -> dict[str, float]:
    return {key: value for key, value in values.items() if value is not None and math.isfinite(value)}


def _flags(pixels: dict[str, Any]) -> list[str]:
    names = {"no_op": "no-op", "drifted": "drifted", "size_changed": "size changed", "stretched": "shape changed"}
    return [name for key, name in names.items() if pixels.get(key)]


def _facts(sample: dict[str, Any], pixels: dict[str, Any]) -> list[str | None]:
    """Values of `_REPORT_FACTS`, None where one is not known."""

    def shown(value: float | None, decimals: int, unit: str = "") -> str | None:
        return None if value is None else rounded(value, decimals) + unit

    def size(pair: list[int] | None) -> str | None:
        return f"{pair[0]} × {pair[1]}" if pair and None not in pair else None

    scores, label, digest = sample.get("scores"), sample.get("label"), sample.get("image_sha256")
    named, changed, shift = sample.get("named_scores"), pixels.get("changed"), pixels.get("shift")
    return [
        None if sample.get("seed") is None else str(sample["seed"]),
        shown(sample.get("edit_latency_s"), 2),
        shown(sample.get("judge_latency_s"), 2),
        size(sample.get("source_size")),
        size(sample.get("edited_size")),
        ", ".join(f"{name} {rounded(score)}" for name, score in named.items()) if named else None,
        ", ".join(rounded(score) for score in scores) if scores else None,
        shown(sample.get("spread"), 2),
        None if label is None else str(label),
        shown(sample.get("label_mass"), 3),
        shown(None if changed is None else 100 * changed, 1, "%"),
        "identical" if changed == 0 and pixels.get("psnr") is None else shown(pixels.get("psnr"), 1),
        shown(pixels.get("ssim"), 3),
        _beside_mask(pixels, "inside", 0),
        _beside_mask(pixels, "outside", 1),
        f"no figures: {pixels['mask_error']}" if pixels.get("mask_error") else None,
        None if not shift else f"{rounded(shift[0], sign=True)}, {rounded(shift[1], sign=True)}",
        shown(pixels.get("zoom"), 4),
        shown(pixels.get("drift_confidence"), 2),
        sample.get("source"),
        digest[:16] if digest else None,
    ]


def _beside_mask(pixels: dict[str, Any], side: str, emptied_by: int) -> str | None:
    """PSNR and SSIM on one side of a mask; an edit that changed nothing there has no PSNR."""
    share, psnr = pixels.get("mask_share"), pixels.get(f"psnr_{side}")
    if share is None:
        return None
    if share == emptied_by:
        return "no pixels"
    return "identical" if psnr is None else f"{rounded(psnr, 1)} dB, {rounded(pixels.get(f'ssim_{side}'), 3)}"


def comparison_gallery(comparison: dict[str, Any]) -> dict[str, Any]:
    """Lay out the samples that runs share, the largest loss first."""
    runs = [run["name"] for run in comparison.get("runs") or []]
    return {
        "signed": True,
        "image_names": ["source", *runs],
        "sorts": _COMPARISON_SORTS,
        "state_names": OUTCOMES,
        "fact_names": [f"{run}: state" for run in runs],
        "samples": [_compared_sample(sample, runs) for sample in comparison.get("samples") or []],
    }


def _compared_sample(sample: dict[str, Any], runs: list[str]) -> dict[str, Any]:
    difference = sample.get("difference")
    shown = {
        "id": sample["sample_id"],
        "category": sample["category"],
        "state": outcome(difference),
        "score": difference,
        "instruction": sample.get("instruction"),
        "description": sample.get("description"),
        "scores": [None, *(at(sample, "scores", run) for run in runs)],
        "images": [_address(at(sample, "thumbs", name)) for name in ("source", *runs)],
        **_more_pictures(sample),
        "facts": [STATES.get(at(sample, "states", run)) for run in runs],
    }
    return {key: value for key, value in shown.items() if value not in (None, [])}


def outcome(difference: float | None) -> str:
    """Whether the first other run wins, loses or ties against the base on a sample."""
    if difference is None:
        return "no score"
    return "tie" if difference == 0 else "loss" if difference < 0 else "win"


def inline_images(gallery: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Put the thumbnails themselves into a gallery, for a page that is a single file.

    Args:
        gallery: As made here; its images are left out where they cannot be read.
        folder: Where the page's relative paths start.
    """
    paths = {
        path
        for sample in gallery["samples"]
        for path in (*sample["images"], *sample.get("more_sources", []), sample.get("reference"))
        if path
    }
    inlined = {path: _data_uri(folder / unquote(path)) for path in sorted(paths)}
    return {**gallery, "inlined": {path: uri for path, uri in inlined.items() if uri}}


def _data_uri(path: Path) -> str | None:
    try:
        encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return None
    return f"data:{_TYPES.get(path.suffix.lower(), 'image/png')};base64,{encoded}"


def _address(path: str | None) -> str | None:
    return None if path is None else quote(path)


def choices(samples: Iterable[dict[str, Any]], key: str) -> list[str]:
    """The values that samples have under a key, in the order in which they first come."""
    return list(dict.fromkeys(sample[key] for sample in samples))


def as_script_data(data: Any) -> Markup:
    """Write data as JSON that cannot end the `<script>` it stands in, nor open a comment or a tag."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text.encode("utf-8", "replace").decode("utf-8"))
