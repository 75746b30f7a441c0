"""Results as a log of inspect_ai, whose samples can be unscored: the JSON form of version 2 logs (0.3.285).

An edit that failed is a sample with an error; a reply without a score, and a judge that failed, are unscored samples,
whose value is NaN there.
"""

import hashlib
import json
from typing import Any

from editbench import __version__
from editbench.exports.figures import (
    Report,
    check_scored,
    dataset_name,
    judge_words,
    model_name,
    official_figures_of,
    protocol_words,
    started,
)
from editbench.views.official import scale_of

_REASONS = {"unparsed": "grader_failed", "judge_failed": "scoring_failed"}


def inspect_log(report: Report) -> dict[str, str]:
    """Lay a report out as a log in JSON.

    Returns:
        Its text by its file name, which is of the form that inspect_ai looks for in a folder of logs.

    Raises:
        UserError: no sample has a score.
    """
    check_scored(report, "inspect")
    counts, scorer = report["counts"], str((report["judge"] or {}).get("name") or "judge")
    began, ended = started(report).isoformat(), report["created"]
    samples = [_sample(row, scorer) for row in report["samples"] if row["state"] not in ("pending", "edited")]
    config, task = report["config"], f"editbench_{dataset_name(report)}"
    log_id = hashlib.sha256(f"{report['run']} {began} {scorer}".encode(errors="replace")).hexdigest()[:22]
    log = {
        "version": 2,
        "status": "started" if report["partial"] else "success",
        "eval": {
            "eval_id": log_id,
            "run_id": log_id,
            "task_id": log_id,
            "created": began,
            "task": task,
            "task_version": __version__,
            "task_args": {name: config.get(name) for name in ("editor", "judge", "seed", "limit", "categories")},
            "dataset": {
                "name": dataset_name(report),
                "location": str((config.get("dataset") or {}).get("path")),
                "samples": counts["planned"],
                "sample_ids": [row["sample_id"] for row in report["samples"]],
                "shuffled": False,
            },
            "model": f"editbench/{model_name(report)}",
            "config": {"limit": config.get("limit"), "epochs": 1},
            "packages": {"editbench": __version__},
            "metadata": {
                "run": report["run"],
                "judge": judge_words(report),
                "scale": list(scale_of(report)),
                "protocol": protocol_words(report),
                "notes": report["notes"],
            },
        },
        "plan": {"name": "plan", "steps": [{"solver": "edit", "params": {}}]},
        "results": {
            "total_samples": counts["planned"],
            "completed_samples": counts["scored"] + counts["unparsed"] + counts["judge_failed"],
            "scores": [
                {
                    "name": scorer,
                    "scorer": scorer,
                    "scored_samples": counts["scored"],
                    "unscored_samples": counts["unparsed"] + counts["judge_failed"],
                    "metrics": {
                        **{name: {"name": name, "value": value} for name, value in _metrics(report).items()},
                        **_official(report),
                    },
                }
            ],
        },
        "stats": {"started_at": began, "completed_at": ended},
        "samples": samples,
    }
    time = started(report).isoformat(timespec="seconds").replace(":", "-")
    name = f"{time}_{task.replace('_', '-')}_{log_id}.json"
    return {name: json.dumps(log, indent=1, ensure_ascii=False) + "\n"}


def _metrics(report: Report) -> dict[str, float]:
    overall = report["overall"]
    figures = {"mean": overall["mean"], "stderr": overall["standard_error"], "macro_mean": overall["macro"]["mean"]}
    for name, section in report["categories"].items():
        figures[f"mean_{name}"] = section["mean"]
    return {name: value for name, value in figures.items() if value is not None}


def _official(report: Report) -> dict[str, Any]:
    """The protocol's figures as metrics, each with what it rests on."""
    return {
        (name := f"official_{figure['name']}"): {"name": name, "value": figure["value"], "metadata": figure}
        for figure in official_figures_of(report)
    }


def _sample(row: dict[str, Any], scorer: str) -> dict[str, Any]:
    known = ("category", "description", "state", "source", "image_sha256", "source_size", "edited_size", "seed")
    sample = {
        "id": row["sample_id"],
        "epoch": 1,
        "input": row["instruction"],
        "target": "",
        "metadata": {name: row[name] for name in known},
    }
    if row["state"] in ("edit_failed", "invalid_output"):
        message = f"{row['state']}: {row['error_type']}: {row['error']}"
        return {**sample, "error": {"message": message, "traceback": message, "traceback_ansi": message}}
    score: dict[str, Any] = {"value": row["score"], "answer": None, "explanation": row["reply"]}
    if row["score"] is None:
        score |= {"value": float("nan"), "reason": _REASONS[row["state"]]}
        score["explanation"] = row["reply"] or row["error"]
    return {**sample, "scores": {scorer: score}}
