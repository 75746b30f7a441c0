"""A result as the Hugging Face hub shows it on a model's page: `.eval_results/<name>.yaml`."""

import re
from typing import Any

import yaml

from editbench.errors import UserError
from editbench.exports.figures import Report, check_scored, judge_words, protocol_words
from editbench.views.official import scale_of


def eval_results(
    report: Report, dataset_id: str | None, task_id: str | None, source_url: str | None, figure: str | None = None
) -> str:
    """Lay the run's headline out as one entry: the protocol's first figure, or the mean where it has none.

    Args:
        report: As `build_report` makes it.
        dataset_id: The benchmark's dataset on the hub, `owner/name`.
        task_id: The task as that dataset's eval.yaml has it.
        source_url: Where the report can be read; None: nowhere.
        figure: Another figure of the protocol, by name; needed where the run is in several languages.

    Raises:
        UserError: no sample has a score, or none that the figure is made of, which figure it is to be is not said, or
            dataset or task are not given: a run does not know what the hub calls them.
    """
    check_scored(report, "hf")
    if not dataset_id or not task_id:
        raise UserError(
            "to=hf needs dataset_id=<owner/name> of the benchmark on the hub, and task_id=<task> as its eval.yaml has "
            "it: a run knows neither"
        )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset_id):
        raise UserError(f"dataset_id={dataset_id}: must be owner/name of a dataset on the hub")
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError as error:
        raise UserError("to=hf needs a newer huggingface_hub: pip install -U huggingface_hub") from error
    official = _official(report, figure)
    entry = EvalResultEntry(
        dataset_id=dataset_id,
        task_id=task_id,
        value=round(float(official["value"] if official else report["overall"]["mean"]), 4),
        date=report["created"],
        source_url=source_url,
        source_name="editbench report" if source_url else None,
        notes=_notes(report, official),
    )
    return yaml.safe_dump(eval_result_entries_to_yaml([entry]), allow_unicode=True, sort_keys=False, width=110)


def _official(report: Report, name: str | None) -> dict[str, Any] | None:
    """The protocol's figure that the entry is of, the headline if none is named; None without a protocol's figures."""
    figures = {one["name"]: one for one in (report.get("official") or {"figures": []})["figures"]}
    headlines: dict[str | None, str] = {}
    for key, one in figures.items():
        headlines.setdefault(one.get("language"), key)
    if name is not None and name not in figures:
        has = f"has {', '.join(figures)}" if figures else "has none; leave it out"
        raise UserError(f"figure={name}: the run's protocol has no figure of that name, it {has}")
    if name is None and len(headlines) > 1:
        choices = " or ".join(f"figure={one}" for one in headlines.values())
        raise UserError(
            f"{report['run']}: is in {len(headlines)} languages, and an entry has one value; give {choices}"
        )
    if not figures:
        return None
    found: dict[str, Any] = figures[name or next(iter(figures))]
    if found["value"] is None:
        raise UserError(f"{report['run']}: no sample has a score that {found['name']} is made of; see the report")
    return found


def _notes(report: Report, official: dict[str, Any] | None) -> str:
    """What the value is, by which protocol, and what it rests on."""
    overall, counts, (low, high) = report["overall"], report["counts"], scale_of(report)
    failed, by_protocol = counts["planned"] - counts["scored"], protocol_words(report)
    if official:
        by_protocol += f" The value is {official['name']}{_within(official['interval'])}. Beside it: "
    mean = f" {overall['mean']:.3f}" if by_protocol else ""
    of = f"{counts['scored']} of {counts['planned']} samples{_within(overall['interval'])}"
    return (
        f"editbench {report['editbench']}: {by_protocol}mean score{mean} from {low:g} to {high:g} of {of}; {failed} "
        f"without a score are not in it; judged by {judge_words(report)}, not by the benchmark's own "
        f"scorer{''.join(f'; {note}' for note in report['notes'])}"
    )


def _within(interval: list[float] | None) -> str:
    return f", 95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
