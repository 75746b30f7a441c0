"""Results as lm-evaluation-harness writes them: a task for each category, and a group of all.

The form is that of its version 0.4.13: `results_<time>.json`, and `samples_<task>_<time>.jsonl` for each task.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
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

_METRIC = "score"
_FAILED = "failed_rate"
_LOWEST = "score_with_failures_as_min"


def lm_eval_files(report: Report) -> dict[str, str]:
    """Lay a report out as the harness does.

    Returns:
        Text by file name. A category without a score has no `score,none`, and a sample without one has null: neither is
        ever a number that nobody gave. The group has the figures of the run's protocol, as `official_<name>`.

    Raises:
        UserError: no sample has a score.
    """
    check_scored(report, "lm_eval")
    group = f"editbench_{dataset_name(report)}"
    tasks = _task_names(group, report["categories"])
    sections = {tasks[name]: section for name, section in report["categories"].items()}
    metrics = {task: _metrics(task, section, section["counts"]["planned"]) for task, section in sections.items()}
    overall = {group: _metrics(group, report["overall"], report["counts"]["planned"]) | _official(report)}
    content = {
        "results": {**overall, **metrics},
        "groups": overall,
        "group_subtasks": {group: list(metrics)},
        "configs": {task: _config(task, report) for task in metrics},
        "versions": dict.fromkeys([group, *metrics], __version__),
        "n-shot": dict.fromkeys(metrics, 0),
        "higher_is_better": {
            task: {_METRIC: True, _LOWEST: True, _FAILED: False}
            | {name.partition(",")[0]: True for name in values if name.startswith("official_")}
            for task, values in {**overall, **metrics}.items()
        },
        "n-samples": {
            task: {"original": section["counts"]["planned"], "effective": section["n"]}
            for task, section in sections.items()
        },
        **_about(report),
    }
    time = started(report).replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    files = {}
    for name, task in tasks.items():
        rows = (row for row in report["samples"] if row["category"] == name)
        files[f"samples_{task}_{time}.jsonl"] = "".join(f"{line}\n" for line in _samples(rows))
    files[f"results_{time}.json"] = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return files


def _task_names(group: str, categories: Iterable[str]) -> dict[str, str]:
    """Names of letters, digits and _ alone, which are also part of file names; different for different categories."""
    names: dict[str, str] = {}
    for category in categories:
        name = re.sub(r"\W", "_", f"{group}_{category}")[:120]
        names[category] = name if name not in names.values() else f"{name}_{len(names)}"
    return names


def _metrics(task: str, section: dict[str, Any], planned: int) -> dict[str, Any]:
    error, failed = section["standard_error"], section["failed_rate"] or {}
    values = {
        f"{_METRIC},none": section["mean"],
        f"{_METRIC}_stderr,none": "N/A" if error is None else error,
        f"{_LOWEST},none": section["mean_with_failures_as_min"],
        f"{_FAILED},none": failed.get("rate"),
    }
    known = {name: value for name, value in values.items() if value is not None}
    if f"{_METRIC},none" not in known:
        known.pop(f"{_METRIC}_stderr,none")
    return {"name": task, "alias": task, "sample_len": planned, **known}


def _official(report: Report) -> dict[str, Any]:
    """The protocol's figures with their standard errors, as metrics of the group; metadata has the rest."""
    found: dict[str, Any] = {}
    for figure in official_figures_of(report):
        error = figure["standard_error"]
        found[f"official_{figure['name']},none"] = figure["value"]
        found[f"official_{figure['name']}_stderr,none"] = "N/A" if error is None else error
    return found


def _config(task: str, report: Report) -> dict[str, Any]:
    return {
        "task": task,
        "dataset_path": str((report["config"].get("dataset") or {}).get("path")),
        "output_type": "generate_until",
        "num_fewshot": 0,
        "metric_list": [{"metric": _METRIC, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {
            "version": __version__,
            "judge": judge_words(report),
            "scale": list(scale_of(report)),
            "protocol": protocol_words(report),
            "official": official_figures_of(report),
            **_run(report),
        },
    }


def _run(report: Report) -> dict[str, Any]:
    return {"run": report["run"], "notes": report["notes"]}


def _about(report: Report) -> dict[str, Any]:
    """Which model, when, and with what."""
    name = model_name(report)
    environment = (report["phases"]["edit"] or {}).get("environment") or {}
    seconds = sum(phase["wall_s"] for phase in report["phases"].values() if phase)
    return {
        "config": {
            "model": str((report["editor"] or {}).get("class")),
            "model_args": {"pretrained": name},
            "batch_size": str((report["config"].get("judge") or {}).get("batch_size")),
            "limit": report["config"].get("limit"),
            "random_seed": report["config"].get("seed"),
        },
        "git_hash": environment.get("git_commit"),
        "date": started(report).timestamp(),
        "model_source": "editbench",
        "model_name": name,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name),
        "total_evaluation_time_seconds": str(seconds),
    }


def _samples(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        doc = {name: row[name] for name in ("sample_id", "category", "instruction", "description", "state", "error")}
        reply = row["reply"] or ""
        line = {
            "doc_id": number,
            "doc": doc,
            "target": "",
            "arguments": {"gen_args_0": {"arg_0": row["instruction"], "arg_1": {}}},
            "resps": [[reply]],
            "filtered_resps": [reply],
            "filter": "none",
            "metrics": [_METRIC],
            "doc_hash": _digest(json.dumps(doc, ensure_ascii=False)),
            "prompt_hash": _digest(row["instruction"]),
            "target_hash": _digest(""),
            _METRIC: row["score"],
        }
        yield json.dumps(line, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
