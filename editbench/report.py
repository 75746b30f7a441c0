"""Phase 3: statistics and reports of a run, from its files alone.

    python -m editbench.report run_name=mine

Judge and metric are those of the run, unless judge=… or metric=… names others for this report. Writes report.json,
report.md and report.html, the same as evaluation_report_<UTC time>.{json,md,html}, and prints a table. Loads no model
and no torch. Compares every edit with its source, once, and keeps what it finds in pictures.jsonl and thumbs/
(report.pictures=false: does not). Changes nothing else, so it can run at any time, also while a phase is running. With
tracker=wandb, trackio or tensorboard it also sends there what it found.
"""

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

from editbench import __version__, cli, logs
from editbench.analysis.controls import compare_controls, controls_note
from editbench.analysis.histogram import piled_up_note
from editbench.analysis.metrics import summarize_metrics
from editbench.analysis.official import language_note, official_figures
from editbench.analysis.outcomes import JUDGED, WITH_IMAGE, by_turn, count_causes, macro, summarize_outcomes
from editbench.analysis.phases import sum_up_phase
from editbench.analysis.pixel_rates import summarize_pixels
from editbench.analysis.shape import compare_shapes, shape_note
from editbench.analysis.statistics import extreme_categories
from editbench.components.check import check_tracker
from editbench.config.load import read_metric
from editbench.config.schema import Config, ReportConfig
from editbench.errors import MetricError
from editbench.pictures import Looks, look_at
from editbench.results import judge_of, read_results
from editbench.run.folder import RunDir, utc_now
from editbench.run.lines import write_atomic
from editbench.run.records import Judgment, Sample
from editbench.text import hide
from editbench.trackers.send import send
from editbench.views.console import show_report
from editbench.views.html import to_html
from editbench.views.markdown import to_markdown


def main(config: Config) -> None:
    """Write the reports and print the table."""
    run_dir = RunDir(config.run_dir)
    if config.dry_run:
        logs.console().print(f"dry run of phase report: would read {run_dir.root}", markup=False, highlight=False)
        return
    if config.tracker:
        check_tracker(config.tracker)
    judge, of_judges = judge_of(config, run_dir)
    if of_judges:
        logs.console().print(of_judges, markup=False, highlight=False, soft_wrap=True)
    looks = _look(run_dir, config) if config.report.pictures else Looks()
    report = build_report(run_dir, judge, config.report, looks)
    written = write_report(run_dir, report, config.report.single_file)
    show_report(logs.console(), report, written)
    files = [written.with_suffix(suffix) for suffix in (".json", ".md", ".html")]
    if config.tracker and send(config.tracker, report, files):
        logs.console().print(f"tracker {config.tracker.name} has the report", markup=False, highlight=False)


def _look(run_dir: RunDir, config: Config) -> Looks:
    """Measure the edits, by the metric that is asked for, or else the run's, which need not be on this machine.

    Raises:
        UserError: the metric that is asked for cannot be had, or the pictures cannot be looked at.
    """
    if "metric" in config.chosen:
        return look_at(run_dir, config)
    try:
        return look_at(run_dir, dataclasses.replace(config, metric=read_metric(run_dir.read_config())))
    except MetricError as error:
        looks = look_at(run_dir, dataclasses.replace(config, metric=None))
        note = f"metric: the run's metric cannot be had here, so it measures nothing ({error}); metric=… names another"
        return dataclasses.replace(looks, notes=[hide(note), *looks.notes])


def build_report(
    run_dir: RunDir, judge_name: str, settings: ReportConfig | None = None, looks: Looks | None = None
) -> dict[str, Any]:
    """Collect all that is known of a run.

    Args:
        run_dir: The run.
        judge_name: Whose judgments count.
        settings: What the report holds beside; None: the defaults.
        looks: What the pictures show; None: they were not looked at.

    Raises:
        UserError: there is no such run, one of its files is damaged, or only other judges have judged it.
    """
    results = read_results(run_dir, judge_name)
    plan, edits, judgments = results.plan, results.edits, results.judgments
    looks = looks or Looks()
    outcomes = [o | looks.of(o["sample_id"], o["image_sha256"]) for o in results.outcomes]
    ids = [sample.sample_id for sample in plan.samples]
    settings = settings or ReportConfig()

    def summed(of: list[dict[str, Any]]) -> dict[str, Any]:
        return summarize_outcomes(of, settings.bootstrap, results.scale)

    def with_pixels(of: list[dict[str, Any]]) -> dict[str, Any]:
        return summed(of) | {"pixels": summarize_pixels(o["pixels"] for o in of)}

    of_category: dict[str, list[dict[str, Any]]] = {sample.category: [] for sample in plan.samples}
    for outcome in outcomes:
        of_category[outcome["category"]].append(outcome)
    categories = {name: with_pixels(of) for name, of in of_category.items()}
    best, worst = extreme_categories({name: section["mean"] for name, section in categories.items()})
    overall = with_pixels(outcomes) | {"macro": macro(outcomes, results.scale)}
    counts = overall.pop("counts") | {"skipped": len(plan.skipped)}
    missing = counts["not_edited_yet"] + counts["not_judged_yet"]
    sessions = run_dir.read_sessions()
    editor, edit_phase = sum_up_phase(
        [s for s in sessions if s["phase"] == "edit"], [edits[i] for i in ids if i in edits]
    )
    judge, score_phase = sum_up_phase(
        [s for s in sessions if s["phase"] == "score" and s["component"]["name"] == judge_name],
        [judgments[i] for i in ids if i in judgments],
    )
    judged = [judgments[o["sample_id"]] for o in outcomes if o["state"] in JUDGED]
    controls = compare_controls(judge_name, outcomes, judgments, run_dir.read_controls(judge_name).values())
    shape = compare_shapes(edits[o["sample_id"]] for o in outcomes if o["state"] in WITH_IMAGE)
    return {
        "editbench": __version__,
        "created": utc_now(),
        "run": run_dir.root.name,
        "partial": {"missing": missing} if missing else None,
        "notes": [
            *_partial_note(counts),
            *_notes({"editor": editor, "judge": judge}, counts),
            *_rewritten_note(plan.samples),
            *language_note(results.protocol, plan.samples),
            *piled_up_note(overall, categories),
            *controls_note(controls),
            *shape_note(shape),
            *looks.notes,
            *_batch_note(judged),
        ],
        "counts": counts,
        "scale": list(results.scale),
        "official": official_figures(results.protocol, plan.samples, outcomes, settings.published),
        "overall": overall,
        "categories": categories,
        "turns": {turn: summed(of) for turn, of in by_turn(outcomes).items()},
        "best_category": best,
        "worst_category": worst,
        "errors": count_causes(outcomes),
        "shape": shape,
        "controls": controls,
        "metrics": summarize_metrics(outcomes, results.scale, looks.bounds),
        "editor": editor,
        "judge": judge,
        "phases": {"edit": edit_phase, "score": score_phase},
        "samples": outcomes,
        "config": run_dir.read_config(),
    }


def write_report(run_dir: RunDir, report: dict[str, Any], single_file: bool = False) -> Path:
    """Write the report as JSON, Markdown and HTML under both names; returns the path of report.md.

    Args:
        run_dir: The run.
        report: As `build_report` makes it.
        single_file: Whether the page holds the thumbnails too.
    """
    time = datetime.datetime.fromisoformat(report["created"]).strftime("%Y%m%d_%H%M%S")
    texts = {
        "json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
        "md": to_markdown(report),
        "html": to_html(report, run_dir.root if single_file else None),
    }
    for suffix, text in texts.items():
        for name in (f"evaluation_report_{time}", "report"):
            write_atomic(run_dir.root / f"{name}.{suffix}", text)
    return run_dir.root / "report.md"


def _notes(models: dict[str, dict[str, Any] | None], counts: dict[str, int]) -> list[str]:
    """What a reader must know before the numbers: fakes, what checkpoints say of themselves, what is not on record."""
    made = {"editor": counts["edited"], "judge": counts["scored"] + counts["unparsed"]}
    unknown = [f"{name}: not on record, sessions.json is missing" for name, n in made.items() if n and not models[name]]
    return unknown + [
        f"{name}: {model[key]}"
        for name, model in models.items()
        for key in ("note", "checkpoint_note")
        if model and model.get(key)
    ]


def _partial_note(counts: dict[str, int]) -> list[str]:
    left = {"edited": counts["not_edited_yet"], "judged": counts["not_judged_yet"]}
    said = " and ".join(f"{count} not {what} yet" for what, count in left.items() if count)
    return [f"PARTIAL: of {counts['planned']} samples {said}; the numbers are of the others"] if said else []


def _rewritten_note(samples: list[Sample]) -> list[str]:
    count = sum(sample.rewritten is not None for sample in samples)
    if not count:
        return []
    return [
        f"editor: {count} of {len(samples)} instructions were rewritten by the dataset before the edit; the judge has "
        "the original"
    ]


def _batch_note(judgments: list[Judgment]) -> list[str]:
    sizes = sorted({judgment.batch_size for judgment in judgments if judgment.batch_size})
    if len(sizes) < 2:
        return []
    return [
        f"judge: batches were cut to {' and '.join(map(str, sizes))} samples; in bfloat16 replies can differ by that"
    ]


if __name__ == "__main__":
    cli.run(main, __doc__, uses_components=False)
