"""Phase 3: statistics and reports of a run, from its files alone.

    python -m editbench.report run_name=mine judge=qwen3_vl

Writes report.json and report.md, the same as evaluation_report_<UTC time>.{json,md}, and prints a table. Loads
no model and no torch; changes nothing else, so it can run at any time, also while a phase is running.
"""

import datetime
import json
import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from editbench import __version__, cli, logs
from editbench.analysis.outcomes import count_states, outcome
from editbench.analysis.statistics import extreme_categories, summarize
from editbench.config.schema import Config
from editbench.errors import UserError
from editbench.run.folder import RunDir, utc_now
from editbench.run.lines import write_atomic
from editbench.run.records import FAILURE_STATES, Edit, Judgment
from editbench.text import printable
from editbench.views.markdown import to_markdown


def main(config: Config) -> None:
    """Write the reports and print the table."""
    run_dir = RunDir(config.run_dir)
    if config.dry_run:
        logs.console().print(f"dry run of phase report: would read {run_dir.root}", markup=False, highlight=False)
        return
    report = build_report(run_dir, config.judge.name)
    print_report(logs.console(), report, write_report(run_dir, report))


def print_report(console: Console, report: dict[str, Any], path: Path) -> None:
    """Print scores, what must be known before them, and where the whole report lies."""
    console.print(score_table(report))
    if report["best_category"]:
        console.print(f"best: {report['best_category']}, worst: {report['worst_category']}", markup=False)
    for note in report["notes"]:
        console.print(printable(note), style="bold yellow", markup=False, highlight=False)
    console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)


def build_report(run_dir: RunDir, judge: str) -> dict[str, Any]:
    """Collect all that is known of a run.

    Args:
        run_dir: The run.
        judge: Name of the judge whose judgments count.

    Raises:
        UserError: there is no such run, or it was judged, but by other judges only.
    """
    plan = run_dir.read_plan()
    if plan is None:
        raise UserError(f"{run_dir.root}: there is no run here (no plan.json); give its run_name or run_dir")
    others = sorted(path.stem for path in run_dir.judgments.glob("*.jsonl"))
    if others and judge not in others:
        raise UserError(
            f"{run_dir.root} has no judgments by {judge!r}, only by {', '.join(others)}; choose with judge=…"
        )
    edits, judged = run_dir.read_edits(), run_dir.read_judgments(judge)
    outcomes = [outcome(sample, edits.get(sample.sample_id), judged.get(sample.sample_id)) for sample in plan.samples]
    categories = {
        category: _section([o for o in outcomes if o["category"] == category])
        for category in dict.fromkeys(sample.category for sample in plan.samples)
    }
    best, worst = extreme_categories({name: section["mean"] for name, section in categories.items()})
    overall = _section(outcomes)
    counts = overall.pop("counts") | {"skipped": len(plan.skipped)}
    ids = [sample.sample_id for sample in plan.samples]
    editor, edit_phase = _phase(run_dir, "edit", None, [edits[i] for i in ids if i in edits])
    judge_facts, score_phase = _phase(run_dir, "score", judge, [judged[i] for i in ids if i in judged])
    return {
        "editbench": __version__,
        "created": utc_now(),
        "run": run_dir.root.name,
        "notes": _notes({"editor": editor, "judge": judge_facts}, counts),
        "counts": counts,
        "overall": overall,
        "categories": categories,
        "best_category": best,
        "worst_category": worst,
        "errors": _errors(outcomes),
        "editor": editor,
        "judge": judge_facts,
        "phases": {"edit": edit_phase, "score": score_phase},
        "samples": outcomes,
        "config": run_dir.read_config(),
    }


def write_report(run_dir: RunDir, report: dict[str, Any]) -> Path:
    """Write the report as JSON and Markdown under both names; returns the path of report.md."""
    time = datetime.datetime.fromisoformat(report["created"]).strftime("%Y%m%d_%H%M%S")
    texts = {"json": json.dumps(report, indent=1, ensure_ascii=False) + "\n", "md": to_markdown(report)}
    for suffix, text in texts.items():
        for name in (f"evaluation_report_{time}", "report"):
            write_atomic(run_dir.root / f"{name}.{suffix}", text)
    return run_dir.root / "report.md"


def score_table(report: dict[str, Any]) -> Table:
    """Statistics per category and overall, always beside how many samples they rest on."""
    table = Table(title=f"{escape(report['run'])}: scores from 0 to 10")
    table.add_column("category")
    for column in ("mean", "std", "median", "min", "max", "scored", "failed"):
        table.add_column(column, justify="right")
    rows = {**report["categories"], "overall": {**report["overall"], "counts": report["counts"]}}
    for name, section in rows.items():
        if name == "overall":
            table.add_section()
        counts = section["counts"]
        failed = sum(counts[state] for state in FAILURE_STATES)
        table.add_row(
            escape(name),
            *(show(section[key]) for key in ("mean", "std", "median", "min", "max")),
            f"{counts['scored']} of {counts['planned']}",
            str(failed),
        )
    return table


def show(value: float | None) -> str:
    """A score with three decimals; a dash where it is not known."""
    return "–" if value is None else f"{value:.3f}"


def _section(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [o["score"] for o in outcomes if o["score"] is not None]
    return {**summarize(scores), "counts": count_states(outcomes)}


def _phase(
    run_dir: RunDir, phase: str, component: str | None, results: Iterable[Edit | Judgment]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Sum up the starts of a phase, of the judge of this name if one is given, and its results.

    Returns:
        The editor or judge, and the phase: facts of the last start, times and samples of all of them together. None
        and None if it never did anything.
    """
    sessions = [s for s in run_dir.read_sessions() if s["phase"] == phase]
    sessions = [s for s in sessions if component in (None, s["component"]["name"])]
    if not sessions:
        return None, None
    facts = dict(sessions[-1])
    wall_s, samples = sum(s["wall_s"] for s in sessions), sum(s["samples"] for s in sessions)
    facts |= {"starts": len(sessions), "wall_s": round(wall_s, 3), "samples": samples}
    facts["images_per_s"] = round(samples / wall_s, 4) if wall_s else None
    done = ("edited",) if phase == "edit" else ("scored", "unparsed")
    latencies = [result.latency_s for result in results if result.state in done and result.latency_s is not None]
    facts["median_latency_s"] = round(statistics.median(latencies), 4) if latencies else None
    return facts.pop("component"), facts


def _notes(components: dict[str, dict[str, Any] | None], counts: dict[str, int]) -> list[str]:
    """What a reader must know before the numbers: fakes, what checkpoints say of themselves, what is not on record."""
    made = {"editor": counts["edited"], "judge": counts["scored"] + counts["unparsed"]}
    unknown = [
        f"{name}: not on record, sessions.json is missing" for name, n in made.items() if n and not components[name]
    ]
    return unknown + [
        f"{name}: {facts[key]}"
        for name, facts in components.items()
        for key in ("note", "checkpoint_note")
        if facts and facts.get(key)
    ]


def _errors(outcomes: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Per failure state how often which type of error was the cause."""
    errors: dict[str, Counter[str]] = {}
    for o in outcomes:
        if o["state"] in FAILURE_STATES:
            errors.setdefault(o["state"], Counter())[o["error_type"] or "no score in the answer"] += 1
    return {state: dict(counter.most_common()) for state, counter in errors.items()}


if __name__ == "__main__":
    cli.run(main, __doc__, uses_components=False)
