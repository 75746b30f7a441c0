"""What exports of results take from a report: names of models, times, official figures, and what has no score."""

import datetime
import re
from typing import Any

from editbench.errors import UserError
from editbench.views.official import official_sentence

Report = dict[str, Any]


def model_name(report: Report) -> str:
    """Name of the model that edited: its checkpoint as it was asked for, or what the settings call it."""
    editor = report["editor"] or {}
    return str(editor.get("checkpoint") or editor.get("model") or editor.get("name") or "unknown")


def judge_words(report: Report) -> str:
    """Who judged: name, and checkpoint or served model where it is known."""
    judge = report["judge"] or {}
    model = judge.get("checkpoint") or judge.get("model")
    return f"{judge.get('name', 'unknown')} ({model})" if model else str(judge.get("name", "unknown"))


def dataset_name(report: Report) -> str:
    """What the dataset is called: letters, digits and _ alone."""
    settings = report["config"].get("dataset") or {}
    path = str(settings.get("path") or settings.get("_target_") or "dataset")
    stem = re.split(r"[/\\]", path.rstrip("/\\"))[-1].partition(".")[0]
    return re.sub(r"\W+", "_", stem).strip("_")[:60] or "dataset"


def started(report: Report) -> datetime.datetime:
    """When the last start of the phase that began first was, in UTC; the report's time if that is on no record."""
    times = [phase["started"] for phase in report["phases"].values() if phase]
    return datetime.datetime.fromisoformat(min(times, default=report["created"]))


def official_figures_of(report: Report) -> list[dict[str, Any]]:
    """The figures of the run's protocol that have a value, the headline first; empty for a protocol without figures."""
    official = report.get("official") or {"figures": []}
    return [figure for figure in official["figures"] if figure["value"] is not None]


def protocol_words(report: Report) -> str:
    """By which protocol and whose prompts, and what its headline figure rests on; empty without official figures."""
    return official_sentence(report["official"]) if report.get("official") else ""


def check_scored(report: Report, to: str) -> None:
    """Check that there is a score to be told.

    Raises:
        UserError: there is none.
    """
    if report["overall"]["mean"] is None:
        raise UserError(f"{report['run']}: no sample has a score, so there is no result for to={to}; see the report")
