"""The tracker's protocol, and what it is told of a report.

A new tracker is a class with these three methods, named by `_target_` in a YAML under `conf/tracker/`.
"""

import importlib
from pathlib import Path
from typing import Any, Protocol

from editbench.errors import UserError
from editbench.run.records import FAILURE_STATES
from editbench.text import hide, redact

Report = dict[str, Any]

FAILURE_COLUMNS = ("sample_id", "category", "state", "error_type", "error", "reply")
"""Columns of the table of samples without a score."""


class Tracker(Protocol):
    """Takes in what a report says of a run. Constructed with the YAML's keyword arguments, in the report phase."""

    def start(self, run_name: str, config: dict[str, Any]) -> None:
        """Begin a run.

        Args:
            run_name: The run folder's name.
            config: The run's settings, without secrets.
        """
        ...

    def log(self, scalars: dict[str, float], failures: list[list[str]]) -> None:
        """Take in the figures.

        Args:
            scalars: As `scalars_of` gives them.
            failures: A row for each sample that failed, in the columns of `FAILURE_COLUMNS`.
        """
        ...

    def finish(self, files: list[Path]) -> None:
        """Take in the report's files, and end the run; whatever was not sent yet is sent now."""
        ...


def package(name: str, extra: str) -> Any:
    """Import the package of a tracker.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f'{name} cannot be imported ({error}); pip install "editbench[{extra}]"') from error


def scalars_of(report: Report) -> dict[str, float]:
    """What of a report is a number: scores with the ends of their intervals where there are any, and counts.

    Returns:
        By names such as `overall/mean`, `category/physical/interval_low`, `official/accuracy/value`, `count/unparsed`;
        what is not known is left out. Scores are on the report's `scale`, official figures in their own unit, rates
        from 0 to 1.
    """
    overall = report["overall"]
    found = _section("overall", overall)
    macro = overall["macro"]
    found |= {"overall/macro_mean": macro["mean"]} | _interval("overall/macro", macro["interval"])
    for name, section in report["categories"].items():
        found |= _section(f"category/{name}", section)
    for figure in (report.get("official") or {"figures": []})["figures"]:
        found |= _official(f"official/{figure['name']}", figure)
    found |= {f"count/{name}": count for name, count in report["counts"].items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def failures_of(report: Report) -> list[list[str]]:
    """A row for each sample that failed, with its cause, in the columns of `FAILURE_COLUMNS`."""
    failed = (row for row in report["samples"] if row["state"] in FAILURE_STATES)
    return [[hide(str(row[name] or "")) for name in FAILURE_COLUMNS] for row in failed]


def config_of(report: Report) -> dict[str, Any]:
    """The run's settings, without secrets, and which models made the results."""
    models = {name: report[name] for name in ("editor", "judge")}
    return dict(redact({**report["config"], "made_by": models, "editbench": report["editbench"]}))


def _section(name: str, section: dict[str, Any]) -> dict[str, float | None]:
    found = {
        f"{name}/mean": section["mean"],
        f"{name}/standard_error": section["standard_error"],
        f"{name}/n": section["n"],
        f"{name}/mean_with_failures_as_min": section["mean_with_failures_as_min"],
        f"{name}/failed_rate": section["failed_rate"]["rate"],
    }
    return found | _interval(name, section["interval"])


def _official(name: str, figure: dict[str, Any]) -> dict[str, float | None]:
    """A figure of the run's protocol and what it rests on; nothing where it has no value."""
    if figure["value"] is None:
        return {}
    known = ("value", "standard_error", "with_failures_as_min", "scored", "planned", "categories", "categories_planned")
    return {f"{name}/{what}": figure[what] for what in known} | _interval(name, figure["interval"])


def _interval(name: str, interval: list[float] | None) -> dict[str, float | None]:
    return {f"{name}/interval_low": interval[0], f"{name}/interval_high": interval[1]} if interval else {}
