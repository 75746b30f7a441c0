"""A result as the Hugging Face hub shows it on a model's page: `.eval_results/<name>.yaml`."""

import yaml

from editbench.errors import UserError
from editbench.exports.figures import Report, check_scored, judge_words


def eval_results(report: Report, dataset_id: str | None, task_id: str | None, source_url: str | None) -> str:
    """Lay the run's mean out as one entry.

    Args:
        report: As `build_report` makes it.
        dataset_id: The benchmark's dataset on the hub, `owner/name`.
        task_id: The task as that dataset's eval.yaml has it.
        source_url: Where the report can be read; None: nowhere.

    Raises:
        UserError: no sample has a score, or dataset or task are not given: a run does not know what the hub calls them.
    """
    check_scored(report, "hf")
    if not dataset_id or not task_id:
        raise UserError(
            "to=hf needs dataset_id=<owner/name> of the benchmark on the hub, and task_id=<task> as its eval.yaml has "
            "it: a run knows neither"
        )
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError as error:
        raise UserError("to=hf needs a newer huggingface_hub: pip install -U huggingface_hub") from error
    entry = EvalResultEntry(
        dataset_id=dataset_id,
        task_id=task_id,
        value=round(report["overall"]["mean"], 4),
        date=report["created"],
        source_url=source_url,
        source_name="editbench report" if source_url else None,
        notes=_notes(report),
    )
    return yaml.safe_dump(eval_result_entries_to_yaml([entry]), allow_unicode=True, sort_keys=False, width=110)


def _notes(report: Report) -> str:
    overall, counts = report["overall"], report["counts"]
    interval = overall["interval"]
    within = f", 95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
    failed = counts["planned"] - counts["scored"]
    return (
        f"editbench {report['editbench']}: mean score from 0 to 10 of {counts['scored']} of {counts['planned']} samples"
        f"{within}; {failed} without a score are not in it; judged by {judge_words(report)}, not by the benchmark's "
        f"own scorer{''.join(f'; {note}' for note in report['notes'])}"
    )
