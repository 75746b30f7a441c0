"""Reports and comparisons made up from a seed, with all that a page can show, and pictures where they are wanted."""

import colorsys
import random
import statistics
from collections import Counter

from PIL import Image, ImageDraw

CATEGORIES = ("physical", "environmental", "social", "causal", "referential")
STATES = ("edit_failed", "invalid_output", "unparsed", "judge_failed")
INSTRUCTIONS = {
    "physical": "Let the glass fall off the table, one moment before it breaks",
    "environmental": "Make it a foggy morning in late autumn, keep the building as it is",
    "social": "Let the two people greet each other the way old friends do",
    "causal": "Show the street as it looks after three days of heavy rain",
    "referential": "Give the person on the left the hat of the person on the right",
}
REPLY = (
    "The edit follows the instruction in its main point. The lighting is consistent with the scene and the surface "
    "reacts as it should, but the edge of the object is soft and a shadow is missing.\n\nScore: {score}"
)


def made_report(samples=270, seed=7, folder=None, **changes):
    """A report of a run in which about one sample in twenty failed; with `folder`, thumbnails lie under it."""
    chance = random.Random(seed)
    made = [_sample(index, chance, folder) for index in range(samples)]
    errors = {}
    for sample in made:
        if sample["state"] in STATES:
            errors.setdefault(sample["state"], Counter())[sample["error_type"] or "no score in the answer"] += 1
    categories = {name: _section([s for s in made if s["category"] == name]) for name in CATEGORIES}
    categories = {name: section for name, section in categories.items() if section["counts"]["planned"]}
    means = [section["mean"] for section in categories.values() if section["mean"] is not None]
    overall = _section(made)
    counts = overall.pop("counts") | {"skipped": 0}
    macro = statistics.mean(means)
    overall["macro"] = {
        "mean": macro,
        "standard_error": 0.14,
        "interval": [macro - 0.28, macro + 0.28],
        "categories": len(means),
    }
    return {
        "editbench": "0.1.0",
        "created": "2026-11-27T17:42:42.184+00:00",
        "run": "made-up",
        "notes": ["shape: 10 of 262 edits have another aspect ratio than their source, by 12% in the median"],
        "partial": None,
        "counts": counts,
        "overall": overall,
        "categories": categories,
        "best_category": max(categories, key=lambda name: categories[name]["mean"] or 0),
        "worst_category": min(categories, key=lambda name: categories[name]["mean"] or 10),
        "errors": {state: dict(found) for state, found in errors.items()},
        "controls": {
            "judge": "qwen3_vl",
            "per_kind": [_control("unchanged", 2.1, 5.2), _control("black", 0.2, 7.1), _control("noise", 0.1, 7.2)],
            "repeatability": None,
            "order_bias": {"n": 20, "failed": 0, "difference": 0.1, "standard_error": 0.1, "interval": [-0.1, 0.3]},
            "sentences": ["the judge tells real edits from unchanged sources (difference 5.20, interval 4.60 to 5.80)"],
        },
        "metrics": None,
        "editor": {"name": "qwen_image_edit", "class": "QwenImageEditPipeline", "call": {"num_inference_steps": 50}},
        "judge": {"name": "qwen3_vl", "class": "editbench.judges.qwen3_vl.Qwen3VLJudge", "mode": "generate"},
        "phases": {"edit": _phase("edit", samples, 25.3), "score": _phase("score", samples, 0.42)},
        "samples": made,
        "config": {"dataset": {"path": "bench.json", "language": "en"}, "seed": 42},
        **changes,
    }


def _control(kind, mean, difference):
    return {
        "control": kind,
        "n": 20,
        "failed": 0,
        "unpaired": 0,
        "mean": mean,
        "real_mean": mean + difference,
        "difference": difference,
        "standard_error": 0.3,
        "interval": [difference - 0.6, difference + 0.6],
        "told_apart": True,
    }


def _sample(index, chance, folder):
    category = CATEGORIES[index // 3 % len(CATEGORIES)]
    state = chance.choice(STATES) if chance.random() < 0.05 else "scored"
    lean = {"physical": 0.8, "environmental": 1.0, "social": 0.2, "causal": -0.9, "referential": -0.4}[category]
    score = round(2 * min(10, max(0, chance.gauss(6.9 + lean, 1.9)))) / 2 if state == "scored" else None
    edited = state not in ("edit_failed", "invalid_output")
    changed = 0.0 if chance.random() < 0.04 else round(chance.uniform(0.03, 0.9), 4)
    error = {
        "edit_failed": ("OutOfMemoryError", "CUDA out of memory"),
        "judge_failed": ("RuntimeError", "the judge's replica is gone"),
        "invalid_output": ("ValueError", "the edited image has one colour"),
    }.get(state, (None, None))
    key = f"sample-{index:04}"
    return {
        "sample_id": f"{category}/{index:04}",
        "key": key,
        "category": category,
        "state": state,
        "score": score,
        "answered": "free" if score is not None else None,
        "error_type": error[0],
        "error": error[1],
        "instruction": INSTRUCTIONS[category],
        "description": "A photograph taken in daylight; the subject stands a little left of the middle.",
        "source": f"{index // 3:016x}",
        "seed": 1000003 * (index + 1) % 2**31,
        "edit_latency_s": round(chance.gauss(25, 0.6), 3) if edited else None,
        "judge_latency_s": round(chance.gauss(0.42, 0.05), 3) if edited else None,
        "reply": REPLY.format(score=score)
        if state == "scored"
        else "I see a picture."
        if state == "unparsed"
        else None,
        "completion": None,
        "label": None,
        "label_mass": None,
        "spread": None,
        "scores": None,
        "pixels": _pixels(changed, chance) if edited else None,
        "thumbs": _thumbs(key, index, changed, folder) if edited else None,
        "source_size": [1024, 768],
        "edited_size": [1024, 768] if edited else None,
        "image_sha256": f"{index:064x}" if edited else None,
    }


def _pixels(changed, chance):
    drifted = chance.random() < 0.12
    return {
        "changed": changed,
        "no_op": changed < 0.01,
        "psnr": None if changed == 0 else round(34 - 18 * changed, 2),
        "ssim": round(1 - 0.6 * changed, 4),
        "shift": [0.61, -0.2] if drifted else [0.0, 0.0],
        "zoom": 1.012 if drifted else 1.0,
        "drift_confidence": 0.83,
        "drifted": drifted,
        "size_changed": False,
        "shape_change": 0.0,
    }


def _thumbs(key, index, changed, folder):
    paths = {"source": f"thumbs/source-{index // 3:04}.png", "edited": f"thumbs/{key}-edited.png"}
    if folder is not None:
        (folder / "thumbs").mkdir(parents=True, exist_ok=True)
        source = picture(index // 3, 0)
        source.save(folder / paths["source"])
        (picture(index // 3, index) if changed else source).save(folder / paths["edited"])
    return paths


def picture(scene, change):
    """A small picture of a scene, with something in it that `change` has moved and painted."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(scene * 0.13 % 1, 0.35, 0.85))
    image = Image.new("RGB", (128, 96), (red, green, blue))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 64, 128, 96), fill=(red // 2, green // 2, blue // 2))
    draw.ellipse(
        (20 + change % 40, 30, 56 + change % 40, 66), fill=(250 - change * 37 % 200, 240, 90 + change * 53 % 160)
    )
    return image


def _section(samples):
    scores = [sample["score"] for sample in samples if sample["score"] is not None]
    states = Counter(sample["state"] for sample in samples)
    failed, done = sum(states[state] for state in STATES), len(samples)
    mean = statistics.mean(scores) if scores else None
    error = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None
    low, high = (sum(scores) / done, (sum(scores) + 10 * failed) / done) if done else (None, None)
    bins = Counter(min(9, int(score)) for score in scores)
    measured = [sample["pixels"] for sample in samples if sample["pixels"]]
    return {
        "mean": mean,
        "std": statistics.stdev(scores) if len(scores) > 1 else None,
        "median": statistics.median(scores) if scores else None,
        "min": min(scores, default=None),
        "max": max(scores, default=None),
        "n": len(scores),
        "clusters": len({sample["source"] for sample in samples if sample["score"] is not None}),
        "standard_error": error,
        "interval": [max(0, mean - 2 * error), min(10, mean + 2 * error)] if error is not None else None,
        "mean_with_failures_as_min": low,
        "mean_range": [low, high] if done else None,
        "failed_rate": _rate(failed, done),
        "histogram": {"edges": list(range(11)), "counts": [bins[number] for number in range(10)]},
        "piled_up": None,
        "answered": {"free": len(scores)},
        "counts": {
            "planned": done,
            "edited": done - states["edit_failed"] - states["invalid_output"],
            "scored": states["scored"],
            **{state: states[state] for state in STATES},
            "not_edited_yet": states["pending"],
            "not_judged_yet": states["edited"],
        },
        "pixels": {
            "n": len(measured),
            "no_op": _rate(sum(pixels["no_op"] for pixels in measured), len(measured)),
            "drifted": _rate(sum(pixels["drifted"] for pixels in measured), len(measured)),
            "changed": statistics.median(pixels["changed"] for pixels in measured) if measured else None,
            "psnr": 24.31 if measured else None,
            "ssim": 0.7342 if measured else None,
        },
    }


def _rate(count, of):
    if not of:
        return None
    rate = count / of
    return {"count": count, "of": of, "rate": rate, "interval": [max(0.0, rate - 0.02), min(1.0, rate + 0.02)]}


def _phase(name, samples, latency):
    return {
        "phase": name,
        "starts": 1,
        "wall_s": round(samples * latency / 6, 1),
        "samples": samples,
        "images_per_s": round(6 / latency, 3),
        "median_latency_s": latency,
        "load_s": 61.2,
        "load_peak_gib": 57.9,
        "world_size": 6,
        "devices": ["NVIDIA H100 80GB HBM3"] * 6,
        "environment": {
            "host": "node-1",
            "python": "3.12.4",
            "git_commit": "6b848318564c",
            "versions": {"torch": "2.14.1", "diffusers": "0.42.1"},
        },
    }


def made_comparison(samples=270, folder=None):
    """A comparison of two made-up runs; with `folder`, their thumbnails lie under `a` and `b` in it."""
    base, other = (made_report(samples, seed, folder and folder / name) for seed, name in ((7, "a"), (8, "b")))
    rows = []
    for one, two in zip(base["samples"], other["samples"], strict=True):
        difference = None if None in (one["score"], two["score"]) else two["score"] - one["score"]
        thumbs = {
            "source": one["thumbs"] and f"a/{one['thumbs']['source']}",
            "base": one["thumbs"] and f"a/{one['thumbs']['edited']}",
            "other": two["thumbs"] and f"b/{two['thumbs']['edited']}",
        }
        rows.append(
            {
                **{key: one[key] for key in ("sample_id", "key", "source", "instruction", "description", "category")},
                "states": {"base": one["state"], "other": two["state"]},
                "scores": {"base": one["score"], "other": two["score"]},
                "difference": difference,
                "thumbs": {name: path for name, path in thumbs.items() if path},
            }
        )
    rows.sort(key=lambda row: (row["difference"] is None, row["difference"] or 0))
    pair = {
        "base": "base",
        "other": "other",
        "overall": _difference(rows, None),
        "categories": {name: _difference([r for r in rows if r["category"] == name], 0.4) for name in CATEGORIES},
        "counts": {
            "shared": samples,
            "both_scored": samples - 20,
            "only_in_base": 0,
            "only_in_other": 3,
            "without_score_in_base": 9,
            "without_score_in_other": 11,
        },
        "failures_as_min": {"n": samples, "difference": -0.2, "interval": [-0.5, 0.1]},
    }
    return {
        "editbench": "0.1.0",
        "created": "2026-11-27T17:42:42.184+00:00",
        "forced": [],
        "notes": [],
        "runs": [
            {
                "name": name,
                "path": f"runs/{name}",
                "editor": report["editor"],
                "judge": report["judge"],
                "changed": [] if name == "base" else ["editor.checkpoint"],
                "planned": samples,
                "scored": report["overall"]["n"],
                "mean": report["overall"]["mean"],
            }
            for name, report in (("base", base), ("other", other))
        ],
        "pairs": [pair],
        "ranking": None,
        "samples": rows,
    }


def _difference(rows, p_holm):
    both = [row for row in rows if row["difference"] is not None]
    differences = [row["difference"] for row in both]
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return {
        "n": len(both),
        "clusters": len(both) // 3,
        "base_mean": statistics.mean(row["scores"]["base"] for row in both),
        "other_mean": statistics.mean(row["scores"]["other"] for row in both),
        "difference": mean,
        "standard_error": error,
        "interval": [mean - 2 * error, mean + 2 * error],
        "p": 0.31,
        "method": "monte carlo",
        "wins": sum(difference > 0 for difference in differences),
        "ties": sum(difference == 0 for difference in differences),
        "losses": sum(difference < 0 for difference in differences),
        "smallest_detectable": 2.8 * error,
        "p_holm": p_holm,
    }
